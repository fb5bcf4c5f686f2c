//! Running a call until it is over or its deadline has passed, without holding up anybody else's.
//!
//! Nearly every call is over when it is polled first, and costs nothing here. One that keeps its thread busy for long goes on with a
//! thread of its own. On a thread that it shared with others, an event of a neighbour would wait for whatever its turn takes, and
//! a bulk memory instruction takes milliseconds; with a thread for each, as many would compete for the cores as there are long
//! calls. So long calls take turns, as many at a time as there are cores, and the kernel does the rest.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::Semaphore;
use tokio::task::block_in_place;
use tokio::time::Sleep;

use crate::clock::Clock;
use crate::fault::Failure;

/// A call is long when it was not over after so many polls (a millisecond of a plain loop), or so many milliseconds in them.
const LONG_POLLS: u32 = 64;
const LONG_MILLIS: u64 = 2;
/// How long a long call's turn is, a poll more or less.
const TURN_MILLIS: u64 = 5;

/// Turns of long calls. The process's, because the cores are.
static TURNS: LazyLock<Semaphore> =
    LazyLock::new(|| Semaphore::new(std::thread::available_parallelism().map_or(1, usize::from)));

/// Runs a call until the clock reads `deadline`, or drops it. A guest that runs is compared with the clock at every yield, one that
/// waits is woken by a timer.
pub(crate) async fn bounded<T>(
    call: impl Future<Output = wasmtime::Result<T>>,
    clock: &Clock,
    deadline: u64,
) -> Result<T, Failure> {
    let mut call = pin!(call);
    let first = poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx))).await;
    if let Poll::Ready(result) = first {
        return result.map_err(Failure::Error);
    }
    let left = Duration::from_millis(deadline.saturating_sub(clock.now()));
    let alarm = pin!(tokio::time::sleep(left));
    let mut watched = Watched { call, clock, deadline, alarm, polls: 0, busy_millis: 0 };
    let runtime = Handle::current();
    let has_threads = runtime.runtime_flavor() == RuntimeFlavor::MultiThread;
    let over = poll_fn(|cx| match watched.poll(cx) {
        Poll::Ready(result) => Poll::Ready(Some(result)),
        Poll::Pending if has_threads && watched.is_long() => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    });
    match over.await {
        Some(result) => result,
        None => block_in_place(|| runtime.block_on(watched.in_turns())),
    }
}

/// A call that was not over when it was polled first.
struct Watched<'a, F> {
    call: Pin<&'a mut F>,
    clock: &'a Clock,
    deadline: u64,
    alarm: Pin<&'a mut Sleep>,
    polls: u32,
    /// Spent in polls; while a guest waits for the host none passes.
    busy_millis: u64,
}

/// How a turn ended.
enum Turn<T> {
    Over(Result<T, Failure>),
    /// It would go on.
    Up,
    /// It waits for something.
    Waits,
}

impl<T, F: Future<Output = wasmtime::Result<T>>> Watched<'_, F> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<T, Failure>> {
        let began = self.clock.now();
        if let Poll::Ready(result) = self.call.as_mut().poll(cx) {
            return Poll::Ready(result.map_err(Failure::Error));
        }
        self.polls = self.polls.saturating_add(1);
        self.busy_millis += self.clock.now() - began;
        if self.is_late(cx) { Poll::Ready(Err(Failure::Elapsed)) } else { Poll::Pending }
    }

    fn is_late(&mut self, cx: &mut Context<'_>) -> bool {
        self.clock.now() >= self.deadline || self.alarm.as_mut().poll(cx).is_ready()
    }

    fn is_long(&self) -> bool {
        self.polls >= LONG_POLLS || self.busy_millis >= LONG_MILLIS
    }

    /// Goes on to the end, as long as it runs in turns with other long calls.
    async fn in_turns(&mut self) -> Result<T, Failure> {
        loop {
            let turn = tokio::select! {
                biased;
                () = self.alarm.as_mut() => return Err(Failure::Elapsed),
                turn = TURNS.acquire() => turn,
            };
            let called = Arc::new(Called { again: AtomicBool::new(false), waker: waker().await });
            let ended = self.turn(&called);
            drop(turn);
            match ended {
                Turn::Over(result) => return result,
                Turn::Up => {}
                Turn::Waits => {
                    let called_again = poll_fn(|cx| {
                        if called.again.load(Ordering::Acquire) {
                            Poll::Ready(true)
                        } else if self.is_late(cx) {
                            Poll::Ready(false)
                        } else {
                            Poll::Pending
                        }
                    });
                    if !called_again.await {
                        return Err(Failure::Elapsed);
                    }
                }
            }
        }
    }

    fn turn(&mut self, called: &Arc<Called>) -> Turn<T> {
        let waker = Waker::from(called.clone());
        let mut cx = Context::from_waker(&waker);
        let end = self.clock.now() + TURN_MILLIS;
        loop {
            called.again.store(false, Ordering::Release);
            if let Poll::Ready(result) = self.poll(&mut cx) {
                return Turn::Over(result);
            }
            // A guest that yields calls itself again before it does.
            if !called.again.load(Ordering::Acquire) {
                return Turn::Waits;
            }
            if self.clock.now() >= end {
                return Turn::Up;
            }
        }
    }
}

/// The waker of the task that this runs in.
async fn waker() -> Waker {
    poll_fn(|cx| Poll::Ready(cx.waker().clone())).await
}

/// Remembers that a call wants to go on.
struct Called {
    again: AtomicBool,
    waker: Waker,
}

impl Wake for Called {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.again.store(true, Ordering::Release);
        self.waker.wake_by_ref();
    }
}
