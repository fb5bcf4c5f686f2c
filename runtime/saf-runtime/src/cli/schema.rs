//! `saf-runtime schema`: the JSON Schema of the configuration file.

use crate::exit::Failure;

pub(crate) fn print() -> Result<(), Failure> {
    let schema = serde_json::to_string_pretty(&crate::config::schema()).map_err(Failure::internal)?;
    super::print(&(schema + "\n"))
}
