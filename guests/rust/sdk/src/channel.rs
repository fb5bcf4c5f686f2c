//! What an author implements, and the macros that make a Channel of it.

use serde::de::DeserializeOwned;

use crate::{Emission, Event, Failure};

/// What becomes of an event: emissions that are stored, all or none, or why there are none.
pub type Answer = Result<Vec<Emission>, Failure>;

/// A Channel with configuration or state. One value lives in each instance, from event to event, until the router drops it.
///
/// ```
/// use saf_channel::{Answer, Channel, Emission, Event};
///
/// #[derive(serde::Deserialize)]
/// struct Config {
///     every: u64,
/// }
///
/// struct Sample {
///     every: u64,
///     seen: u64,
/// }
///
/// impl Channel for Sample {
///     type Config = Config;
///
///     fn new(config: Config) -> Result<Self, String> {
///         if config.every == 0 {
///             return Err("every must be at least 1".into());
///         }
///         Ok(Self { every: config.every, seen: 0 })
///     }
///
///     fn handle(&mut self, event: Event) -> Answer {
///         self.seen += 1;
///         let sampled = self.seen % self.every == 0;
///         Ok(sampled.then(|| Emission::new("sampled", event.data)).into_iter().collect())
///     }
/// }
///
/// saf_channel::channel!(Sample);
/// ```
pub trait Channel: Sized + 'static {
    /// The Channel's `config` table, `{}` without one. What does not fit refuses the configuration.
    type Config: DeserializeOwned;

    /// Called once in each instance, before any event. An error makes the Channel faulted: events wait.
    fn new(config: Self::Config) -> Result<Self, String>;

    /// Called once for each attempt, one at a time. A panic is a trap: nothing is stored, and the event comes again.
    fn handle(&mut self, event: Event) -> Answer;
}

/// What a function that handles events may return: nothing, one emission, perhaps one, several, or a [`Result`] of these.
pub trait IntoAnswer {
    /// The same, spelt out.
    fn into_answer(self) -> Answer;
}

impl IntoAnswer for () {
    fn into_answer(self) -> Answer {
        Ok(Vec::new())
    }
}

impl IntoAnswer for Emission {
    fn into_answer(self) -> Answer {
        Ok(vec![self])
    }
}

impl IntoAnswer for Option<Emission> {
    fn into_answer(self) -> Answer {
        Ok(self.into_iter().collect())
    }
}

impl IntoAnswer for Vec<Emission> {
    fn into_answer(self) -> Answer {
        Ok(self)
    }
}

impl<T: IntoAnswer> IntoAnswer for Result<T, Failure> {
    fn into_answer(self) -> Answer {
        self?.into_answer()
    }
}

/// Makes a Channel of a function from [`Event`] to anything that is [`IntoAnswer`]. It ignores the Channel's configuration. Once a
/// crate.
#[macro_export]
#[rustfmt::skip] // it indents the line of export! as if it were outside
macro_rules! handler {
    // Names in here are no function's: an author's may be called anything, `handle` too.
    ($handle:path) => {
        const _: () = {
            // Natively there is nobody to call it: tests call the function itself.
            #[cfg(not(target_arch = "wasm32"))]
            const _: fn($crate::Event) -> $crate::Answer =
                |event| $crate::IntoAnswer::into_answer($handle(event));

            #[cfg(target_arch = "wasm32")]
            const _: () = {
                struct SafExported;

                impl $crate::glue::Guest for SafExported {
                    fn init(_config: String) -> Result<(), String> {
                        $crate::glue::prepare();
                        Ok(())
                    }

                    fn handle(event: $crate::Event) -> $crate::Answer {
                        $crate::IntoAnswer::into_answer($handle(event))
                    }
                }

                $crate::glue::export!(SafExported with_types_in $crate::glue);
            };
        };
    };
}

/// Makes a Channel of a type that is [`Channel`](trait@Channel). Once a crate.
#[macro_export]
#[rustfmt::skip] // it indents the line of export! as if it were outside
macro_rules! channel {
    ($channel:ty) => {
        const _: () = {
            #[cfg(not(target_arch = "wasm32"))]
            const _: fn(&mut $channel, $crate::Event) -> $crate::Answer =
                <$channel as $crate::Channel>::handle;

            #[cfg(target_arch = "wasm32")]
            const _: () = {
                thread_local! {
                    static SAF_STATE: ::std::cell::RefCell<Option<$channel>> =
                        const { ::std::cell::RefCell::new(None) };
                }

                struct SafExported;

                impl $crate::glue::Guest for SafExported {
                    fn init(config: String) -> Result<(), String> {
                        $crate::glue::prepare();
                        let made = <$channel as $crate::Channel>::new($crate::glue::config(&config)?)?;
                        SAF_STATE.set(Some(made));
                        Ok(())
                    }

                    fn handle(event: $crate::Event) -> $crate::Answer {
                        SAF_STATE.with_borrow_mut(|state| match state {
                            Some(channel) => $crate::Channel::handle(channel, event),
                            None => panic!("the router called handle before init"),
                        })
                    }
                }

                $crate::glue::export!(SafExported with_types_in $crate::glue);
            };
        };
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    // Were the macro's own names functions, this would call itself: an error, since nothing else calls it.
    #[deny(unconditional_recursion)]
    #[cfg(not(target_arch = "wasm32"))]
    fn handle(event: Event) -> Emission {
        Emission::new("handled", event.data)
    }

    #[cfg(not(target_arch = "wasm32"))]
    handler!(handle);

    #[test]
    fn what_a_function_returns_becomes_an_answer() {
        let one = Emission::new("a", "1");
        let cases = [
            (().into_answer(), Ok(vec![])),
            (one.clone().into_answer(), Ok(vec![one.clone()])),
            (Some(one.clone()).into_answer(), Ok(vec![one.clone()])),
            (None::<Emission>.into_answer(), Ok(vec![])),
            (vec![one.clone(), one.clone()].into_answer(), Ok(vec![one.clone(), one.clone()])),
            (Ok::<_, Failure>(one.clone()).into_answer(), Ok(vec![one])),
            (Err::<(), _>(Failure::reject("no")).into_answer(), Err(Failure::reject("no"))),
        ];
        for (answer, expected) in cases {
            assert_eq!(answer, expected);
        }
    }
}
