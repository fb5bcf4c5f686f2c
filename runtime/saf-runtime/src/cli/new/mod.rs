//! `saf-runtime new`: a Channel to start from, in a folder of its own beside router.toml, and its section in there. Nothing is
//! fetched, nothing is overwritten: the section is written behind what the file holds, so that its comments and layout stay.

mod tar;
mod template;

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use saf_event::ChannelName;

use self::template::{Language, Template};
use super::{ConfigFile, print};
use crate::config::Config;
use crate::exit::Failure;

/// What a router.toml that was not there begins with.
const FIRST_LINES: &str = "\
# The router's configuration: saf-runtime --config router.toml
# What is absent has its default: events come in on 127.0.0.1:1378, streams are kept in ./data.
# Every key: docs/configuration.md, or `saf-runtime schema` for editors.
";

/// Start a Channel: a folder with sources, a test case and a README, and its section in router.toml.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  saf-runtime new hello --lang rust      hello/ and [channels.hello], subscribed to hello, may emit to hello.done
  saf-runtime build hello                build it
  saf-runtime test                       run its case
  saf-runtime dev                        build it, run it, and build it again when it changes")]
pub(crate) struct New {
    /// The Channel's name: 1 to 32 of a-z, 0-9 and -; also its folder's, and the subject that it subscribes to.
    name: String,
    /// The language.
    #[arg(long, value_enum)]
    lang: Language,
    #[command(flatten)]
    file: ConfigFile,
}

impl New {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let name = ChannelName::parse(&self.name).map_err(|error| Failure::Usage(error.to_string()))?;
        if !name.as_str().starts_with(|c: char| c.is_ascii_lowercase()) {
            return Err(Failure::Usage(format!(
                "{name} does not begin with a letter, as names of packages must"
            )));
        }
        let file = self.file.path();
        let folder = file.parent().unwrap_or(Path::new("")).join(name.as_str());
        let template = Template::new(self.lang, name.as_str());
        let before = existing(file)?;
        let text = extended(file, before.as_deref(), &name, &template)?;
        let written = write_files(&folder, &template)?;
        write_config(file, &text)?;
        print(&said(&name, file, &written, &template)?)
    }
}

/// The configuration as it is; `None` when there is none yet.
fn existing(file: &Path) -> Result<Option<String>, Failure> {
    match fs::read_to_string(file) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::Config(format!("cannot read {}: {error}", file.display()))),
    }
}

/// The configuration with the Channel's section behind it. Checked: as it was, and as it becomes.
fn extended(
    file: &Path,
    before: Option<&str>,
    name: &ChannelName,
    template: &Template,
) -> Result<String, Failure> {
    let mut text = before.unwrap_or(FIRST_LINES).to_owned();
    let config = Config::parse(file, &text)?;
    if config.channels.contains_key(name) {
        return Err(Failure::Usage(format!(
            "{} has a Channel {name} already: choose another name",
            file.display()
        )));
    }
    if !text.ends_with('\n') {
        text.push('\n');
    }
    let section = section(name, template);
    text.push_str(&section);
    match Config::parse(file, &text) {
        Ok(_) => Ok(text),
        Err(report) => Err(Failure::Config(format!(
            "the Channel's section does not fit behind what {} holds; nothing was written. Put it in by hand:\n{section}\n{report}",
            file.display()
        ))),
    }
}

fn section(name: &ChannelName, template: &Template) -> String {
    let Template { component, command, module, watch, .. } = template;
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let mut section = format!(
        "\n[channels.{name}]\ncomponent = {}\nsubjects = [\"{name}\"]\nemit.subjects = [\"{name}.done\"]\n\n[channels.{name}.build]\n\
         command = {}\ndir = \"{name}\"\n",
        quoted(&format!("{name}/{component}")),
        quoted(command)
    );
    // Writing to a string cannot fail.
    if let Some(module) = module {
        let _ = writeln!(section, "module = {}", quoted(module));
    }
    let _ = writeln!(section, "watch = {watch:?}");
    section
}

/// Writes the files; refuses before the first when one is there already.
fn write_files(folder: &Path, template: &Template) -> Result<Vec<PathBuf>, Failure> {
    let paths: Vec<_> = template.files.iter().map(|(path, _)| folder.join(path)).collect();
    if let Some(path) = paths.iter().find(|path| path.exists()) {
        return Err(Failure::Usage(format!(
            "{} is there already, and nothing is overwritten: choose another name, or move it away",
            path.display()
        )));
    }
    for (path, (_, content)) in paths.iter().zip(&template.files) {
        let write = || {
            fs::create_dir_all(path.parent().unwrap_or(folder))?;
            fs::File::create_new(path)?.write_all(content)
        };
        write().map_err(|error| Failure::Usage(format!("cannot write {}: {error}", path.display())))?;
    }
    Ok(paths)
}

fn write_config(file: &Path, text: &str) -> Result<(), Failure> {
    let beside = file.with_extension("toml.new");
    fs::write(&beside, text)
        .and_then(|()| fs::rename(&beside, file))
        .map_err(|error| Failure::Usage(format!("cannot write {}: {error}", file.display())))
}

fn said(
    name: &ChannelName,
    file: &Path,
    written: &[PathBuf],
    template: &Template,
) -> Result<String, Failure> {
    let mut text = String::new();
    let mut say = || {
        for path in written {
            writeln!(text, "wrote  {}", path.display())?;
        }
        writeln!(text, "added  [channels.{name}] to {}", file.display())?;
        let config = if file == Path::new("router.toml") {
            String::new()
        } else {
            format!(" --config {}", file.display())
        };
        writeln!(text, "\nNext:\n  saf-runtime build {name}{config}")?;
        writeln!(text, "  saf-runtime test{config}")?;
        writeln!(text, "or build, run and watch it at once, and send it an event from another terminal:")?;
        writeln!(text, "  saf-runtime dev{config}\n  saf-runtime send {name} '{}' --wait", template.data)
    };
    say().map_err(Failure::internal)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# mine\n[http]\nlisten = \"127.0.0.1:0\" # any";

    fn extend(before: Option<&str>, name: &str) -> Result<String, String> {
        let name = ChannelName::parse(name).expect("valid");
        let template = Template::new(Language::Go, name.as_str());
        extended(Path::new("dir/router.toml"), before, &name, &template)
            .map_err(|failure| failure.to_string())
    }

    #[test]
    fn what_a_configuration_holds_stays_as_it_is() {
        let text = extend(Some(FILE), "hello").expect("fits");
        assert!(text.starts_with(FILE) && text.contains("\n[channels.hello]\n"), "{text}");
        let twice = extend(Some(&text), "other").expect("fits");
        assert!(twice.starts_with(&text), "{twice}");
        let config = Config::parse(Path::new("dir/router.toml"), &twice).expect("valid");
        let name = ChannelName::parse("hello").expect("valid");
        let build = config.channels.build(&name).expect("there");
        assert_eq!(build.module.as_deref(), Some(Path::new("dir/hello/hello.core.wasm")));
        assert!(config.channels[&name].may_emit("hello.done"));
        assert!(extend(None, "hello").expect("fits").starts_with("# The router's configuration"));
    }

    #[test]
    fn what_cannot_be_extended_is_refused_with_what_to_do() {
        let there = extend(Some("[channels.hello]\ncomponent = \"a\"\nsubjects = [\"x\"]\n"), "hello");
        assert!(there.is_err_and(|error| error.contains("choose another name")));
        let inline = "channels = { a = { component = \"a\", subjects = [\"x\"] } }\n";
        let refused = extend(Some(inline), "hello").expect_err("an inline table is closed");
        assert!(refused.contains("by hand") && refused.contains("[channels.hello]"), "{refused}");
    }

    #[test]
    fn nothing_is_overwritten() {
        let folder = tempfile::tempdir().expect("a folder");
        let template = Template::new(Language::Rust, "hello");
        fs::write(folder.path().join("channel.wit"), "mine").expect("writable");
        let refused = write_files(folder.path(), &template).expect_err("there already").to_string();
        assert!(refused.contains("channel.wit") && !folder.path().join("Cargo.toml").exists(), "{refused}");
    }
}
