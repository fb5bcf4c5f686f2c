//! wasi:http 0.2, denied: the runtimes of JavaScript and Python import it whether or not the guest ever calls it, so it is linked,
//! and every request answers `HTTP-request-denied`. Grants come with an issue of their own.

use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpHooks};

/// Most bytes of one `fields` resource, as the host holds it: a guest may hold [`crate::world::MAX_RESOURCES`] of them.
const MAX_FIELDS_BYTES: usize = 16 << 10;
/// Most bytes of a body that a guest can leave with the host before anybody reads it.
const MAX_BODY_CHUNK_BYTES: usize = 16 << 10;

/// The owned context of an instance.
pub(crate) struct Http {
    pub(crate) ctx: WasiHttpCtx,
    pub(crate) hooks: Deny,
}

impl Http {
    pub(crate) fn denied() -> Self {
        let mut ctx = WasiHttpCtx::new();
        ctx.set_field_size_limit(MAX_FIELDS_BYTES);
        Self { ctx, hooks: Deny }
    }
}

/// Answers every request with a denial, without a look at it.
pub(crate) struct Deny;

type Sent = Result<(http::Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>), Error>;

impl WasiHttpHooks for Deny {
    fn send_request(
        &mut self,
        _: http::Request<WasiBody>,
        _: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        Box::new(std::future::ready(Err(Error::HttpRequestDenied)))
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        MAX_BODY_CHUNK_BYTES
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;

    use http_body_util::{BodyExt as _, Empty};

    use super::*;

    #[tokio::test]
    async fn every_request_is_denied() {
        let body = Empty::new().map_err(|never: std::convert::Infallible| match never {}).boxed_unsync();
        let request = http::Request::get("https://api.example.com").body(body).expect("a request");
        let sent = Deny.send_request(request, None, Box::new(std::future::ready(Ok(()))));
        assert!(matches!(Pin::from(sent).await, Err(Error::HttpRequestDenied)));
    }
}
