//! `docs/contract.md`, from the comments and types of `wit/channel.wit`.

use std::fmt::Write as _;

use wit_parser::{Docs, Function, Resolve, Result_, Type, TypeDefKind, TypeId, WorldItem, WorldKey};

use super::{cell, current, made_from};

const CONTRACT: &str = include_str!("../../../../wit/channel.wit");

const ABOUT: &str = "What passes between the router and a Channel, and what each answer means. Every language's tools make a component of it: \
[write-a-channel.md](write-a-channel.md). What a Channel may import on top: [capabilities.md](capabilities.md).";

#[test]
fn contract() {
    let mut resolve = Resolve::default();
    let package = resolve.push_str("channel.wit", CONTRACT).expect("the contract is valid WIT");
    let package = &resolve.packages[package];
    let mut page =
        format!("{}# The contract: `{}`\n\n{ABOUT}\n", made_from("`wit/channel.wit`"), package.name);
    paragraph(&mut page, &package.docs);
    for (name, interface) in &package.interfaces {
        let interface = &resolve.interfaces[*interface];
        write!(page, "\n## Interface `{name}`\n").expect("text");
        paragraph(&mut page, &interface.docs);
        for (name, definition) in &interface.types {
            define(&mut page, &resolve, name, *definition);
        }
        for function in interface.functions.values() {
            write!(page, "\n### `{}`\n\n```wit\n{}\n```\n", function.name, signature(&resolve, function))
                .expect("text");
            paragraph(&mut page, &function.docs);
        }
    }
    for (name, world) in &package.worlds {
        let world = &resolve.worlds[*world];
        write!(page, "\n## World `{name}`\n").expect("text");
        paragraph(&mut page, &world.docs);
        let key = |key: &WorldKey| match key {
            WorldKey::Name(name) => name.clone(),
            WorldKey::Interface(id) => resolve.interfaces[*id].name.clone().unwrap_or_default(),
        };
        let exports: Vec<_> = world
            .exports
            .iter()
            .filter(|(_, item)| matches!(item, WorldItem::Interface { .. }))
            .map(|(name, _)| format!("`{}`", key(name)))
            .collect();
        writeln!(page, "\nExports: {}. Imports nothing.", exports.join(", ")).expect("text");
        // What it uses of `types` is no function that a host would have to give.
        assert!(world.imports.keys().all(|name| key(name) == "types"), "the world imports nothing");
    }
    current("docs/contract.md", &page);
}

fn paragraph(page: &mut String, docs: &Docs) {
    if let Some(text) = docs.contents.as_deref() {
        write!(page, "\n{}\n", text.trim()).expect("text");
    }
}

/// A type of the interface's own; what it takes over from another one is described there.
fn define(page: &mut String, resolve: &Resolve, name: &str, id: TypeId) {
    let definition = &resolve.types[id];
    let rows: Vec<(String, String, &Docs)> = match &definition.kind {
        TypeDefKind::Record(record) => {
            record.fields.iter().map(|f| (f.name.clone(), shown(resolve, &f.ty), &f.docs)).collect()
        }
        TypeDefKind::Variant(variant) => {
            let payload = |ty: &Option<Type>| ty.as_ref().map_or_else(String::new, |ty| shown(resolve, ty));
            variant.cases.iter().map(|c| (c.name.clone(), payload(&c.ty), &c.docs)).collect()
        }
        _ => return,
    };
    write!(page, "\n### {} `{name}`\n", definition.kind.as_str()).expect("text");
    paragraph(page, &definition.docs);
    page.push_str("\n| name | type | what |\n| --- | --- | --- |\n");
    for (name, ty, docs) in rows {
        let docs = cell(docs.contents.as_deref().unwrap_or_default());
        writeln!(page, "| `{name}` | `{ty}` | {docs} |").expect("text");
    }
}

fn signature(resolve: &Resolve, function: &Function) -> String {
    let parameters: Vec<_> =
        function.params.iter().map(|p| format!("{}: {}", p.name, shown(resolve, &p.ty))).collect();
    let result =
        function.result.as_ref().map_or_else(String::new, |ty| format!(" -> {}", shown(resolve, ty)));
    format!("{}: func({}){result};", function.name, parameters.join(", "))
}

/// A type as WIT writes it.
fn shown(resolve: &Resolve, ty: &Type) -> String {
    let Type::Id(id) = ty else { return format!("{ty:?}").to_lowercase() };
    let definition = &resolve.types[*id];
    if let Some(name) = &definition.name {
        return name.clone();
    }
    let or_nothing = |ty: &Option<Type>| ty.as_ref().map_or_else(|| "_".to_owned(), |ty| shown(resolve, ty));
    match &definition.kind {
        TypeDefKind::List(ty) => format!("list<{}>", shown(resolve, ty)),
        TypeDefKind::Option(ty) => format!("option<{}>", shown(resolve, ty)),
        TypeDefKind::Tuple(tuple) => {
            let types: Vec<_> = tuple.types.iter().map(|ty| shown(resolve, ty)).collect();
            format!("tuple<{}>", types.join(", "))
        }
        TypeDefKind::Result(Result_ { ok, err }) => {
            format!("result<{}, {}>", or_nothing(ok), or_nothing(err))
        }
        kind => unreachable!("the contract has no {}", kind.as_str()),
    }
}
