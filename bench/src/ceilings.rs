//! What bounds the router: the broker, the disk, HTTP and the sandbox, each alone and without anything of saf around it that
//! it could do without. A file a bound.

pub(crate) mod host;
pub(crate) mod http;
pub(crate) mod jetstream;
pub(crate) mod log;
pub(crate) mod relay;
