//! The contract's generated bindings, over our own types: what the router passes in is an [`Event`](crate::Event) at once. For the
//! macros only.

use serde::de::DeserializeOwned;

wit_bindgen::generate!({
    path: "wit",
    world: "channel",
    with: { "saf:channel/types@0.1.0": crate::types },
    pub_export_macro: true,
    export_macro_name: "export",
    default_bindings_module: "saf_channel::glue",
});

pub use exports::saf::channel::handler::Guest;

/// What must be there before a Channel's own code runs.
pub fn prepare() {
    #[cfg(feature = "log")]
    crate::logger::install();
}

/// The Channel's configuration, or why it does not fit.
pub fn config<T: DeserializeOwned>(json: &str) -> Result<T, String> {
    serde_json::from_str(json).map_err(|e| format!("the Channel's config does not fit: {e}"))
}
