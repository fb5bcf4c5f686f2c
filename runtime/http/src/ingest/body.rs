//! Reading request bodies: bounded in size, in time, and, over all connections together, in the memory they hold. A body that
//! came in one piece is not copied.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};

use crate::problem::{Kind, Problem};

/// How many bytes of bodies may be held at once.
pub(super) struct Budget {
    left: AtomicUsize,
}

impl Budget {
    pub(super) fn new(bytes: usize) -> Arc<Self> {
        Arc::new(Self { left: AtomicUsize::new(bytes) })
    }
}

/// The part of the budget that one body holds; given back when dropped.
pub(super) struct Lease {
    budget: Arc<Budget>,
    held: usize,
}

impl Lease {
    fn grow(&mut self, bytes: usize) -> Result<(), Problem> {
        let take = |left: usize| left.checked_sub(bytes);
        // Only a count: nothing is read or written under it.
        match self.budget.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take) {
            Ok(_) => {
                self.held += bytes;
                Ok(())
            }
            Err(_) => Err(Problem::overloaded(
                "the router holds as many request bodies as it may (http.max_in_flight) and nothing was stored: repeat after \
                 Retry-After",
            )),
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.budget.left.fetch_add(self.held, Ordering::Relaxed);
    }
}

/// What a body may take.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    pub(super) bytes: usize,
    pub(super) time: Duration,
}

/// Reads a whole body. Cancel-safe in that nothing but the body is lost.
pub(super) async fn read(
    body: Incoming,
    limits: Limits,
    budget: &Arc<Budget>,
) -> Result<(Bytes, Lease), Problem> {
    // Before anything is read, so that a sender which waits for 100-continue never sends it.
    if body.size_hint().lower() > limits.bytes as u64 {
        return Err(too_large(limits.bytes));
    }
    tokio::time::timeout(limits.time, gather(body, limits.bytes, budget)).await.unwrap_or_else(|_| {
        Err(Problem::new(
            Kind::BodyTimeout,
            format!("the body took longer than {:?} (http.body_timeout)", limits.time),
        ))
    })
}

async fn gather(mut body: Incoming, limit: usize, budget: &Arc<Budget>) -> Result<(Bytes, Lease), Problem> {
    let mut lease = Lease { budget: Arc::clone(budget), held: 0 };
    let mut whole = Whole::Nothing;
    while let Some(frame) = body.frame().await {
        let frame = frame
            .map_err(|error| Problem::new(Kind::MalformedBody, format!("the body broke off: {error}")))?;
        let Ok(data) = frame.into_data() else { continue };
        if lease.held + data.len() > limit {
            return Err(too_large(limit));
        }
        lease.grow(data.len())?;
        whole = whole.with(data);
    }
    Ok((whole.into(), lease))
}

fn too_large(limit: usize) -> Problem {
    Problem::new(
        Kind::BodyTooLarge,
        format!("the body is larger than {limit} bytes (http.max_body): send less, or split the batch"),
    )
}

/// What has come so far.
enum Whole {
    Nothing,
    One(Bytes),
    Many(BytesMut),
}

impl Whole {
    fn with(self, data: Bytes) -> Self {
        match self {
            Self::Nothing => Self::One(data),
            Self::One(first) => {
                let mut all = BytesMut::with_capacity(2 * (first.len() + data.len()));
                all.extend_from_slice(&first);
                all.extend_from_slice(&data);
                Self::Many(all)
            }
            Self::Many(mut all) => {
                all.extend_from_slice(&data);
                Self::Many(all)
            }
        }
    }
}

impl From<Whole> for Bytes {
    fn from(whole: Whole) -> Self {
        match whole {
            Whole::Nothing => Self::new(),
            Whole::One(bytes) => bytes,
            Whole::Many(bytes) => bytes.freeze(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_is_given_back() {
        let budget = Budget::new(10);
        let lease = || Lease { budget: Arc::clone(&budget), held: 0 };
        let (mut a, mut b) = (lease(), lease());
        assert!(a.grow(6).is_ok());
        assert!(b.grow(5).is_err());
        assert!(b.grow(4).is_ok());
        drop(a);
        assert!(b.grow(6).is_ok());
        assert!(b.grow(1).is_err());
        drop(b);
        assert!(lease().grow(10).is_ok());
    }
}
