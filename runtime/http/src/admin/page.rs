//! Pages of listings: `?after=` is the cursor that the page before had as `next`, `?limit=` how many items at most.
//!
//! A page ends early when its items get large, and may be empty while `next` is not: the broker looked through as much as it does
//! for one page. Only `"next": null` is the end, for now.

use schemars::JsonSchema;
use serde::Serialize;

use crate::admin::query::{Form, Parameter, Parameters};
use crate::problem::Problem;

/// Items on a page when the client does not say, and at most.
const DEFAULT_ITEMS: usize = 100;
const MAX_ITEMS: usize = 1000;
/// Bytes of items after which a page ends, whatever its limit.
const PAGE_BYTES: usize = 16 << 20;
/// Items asked of the broker at once: what a page holds beyond [`PAGE_BYTES`] is at most so many.
const STEP_ITEMS: usize = 64;

/// How many items a listing gives.
pub(super) const LIMIT: Parameter =
    Parameter::new("limit", Form::Integer, "Most items on the page, 1 to 1000; 100 when absent.");

/// What every listing takes.
pub(super) const PARAMETERS: &[Parameter] =
    &[Parameter::new("after", Form::Text, "The page behind this one: the `next` of the page before."), LIMIT];

/// A page of a listing.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Page<T> {
    /// What was found, in order.
    pub(super) items: Vec<T>,
    /// The cursor of the next page; `null` when this was the last for now.
    pub(super) next: Option<String>,
}

/// Takes `limit`.
pub(super) fn limit(parameters: &mut Parameters) -> Result<usize, Problem> {
    Ok(parameters.number("limit", 1..=MAX_ITEMS)?.unwrap_or(DEFAULT_ITEMS))
}

/// The page of a list that is at hand, ordered by name.
pub(super) fn of_names<T>(
    all: impl IntoIterator<Item = T>,
    name: impl Fn(&T) -> &str,
    after: Option<&str>,
    limit: usize,
) -> Page<T> {
    let behind = |item: &T| after.is_none_or(|after| name(item) > after);
    let mut items: Vec<T> = all.into_iter().filter(behind).collect();
    items.sort_by(|a, b| name(a).cmp(name(b)));
    let more = items.len() > limit;
    items.truncate(limit);
    let next = items.last().filter(|_| more).map(|last| name(last).to_owned());
    Page { items, next }
}

/// A page that is being filled, step by step.
#[derive(Debug)]
pub(super) struct Filling<T> {
    pub(super) items: Vec<T>,
    bytes: usize,
    limit: usize,
}

/// Whether a page wants more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wants {
    More,
    Nothing,
}

impl<T> Filling<T> {
    pub(super) fn new(limit: usize) -> Self {
        Self { items: Vec::new(), bytes: 0, limit }
    }

    /// How many items to ask for now.
    pub(super) fn step(&self) -> usize {
        (self.limit - self.items.len()).min(STEP_ITEMS)
    }

    /// Takes what a step brought; a step that brought nothing ends the page.
    pub(super) fn add(&mut self, found: Vec<T>, bytes: impl Fn(&T) -> usize) -> Wants {
        if found.is_empty() {
            return Wants::Nothing;
        }
        self.bytes += found.iter().map(bytes).sum::<usize>();
        self.items.extend(found);
        let full = self.items.len() >= self.limit || self.bytes >= PAGE_BYTES;
        if full { Wants::Nothing } else { Wants::More }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_paged_in_order_and_each_is_shown_once() {
        let names = ["c", "a", "d", "b"];
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let page = of_names(names, |name| name, after.as_deref(), 2);
            seen.extend(page.items);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(seen, ["a", "b", "c", "d"]);
    }

    #[test]
    fn a_page_ends_at_its_limit_at_its_bytes_or_when_nothing_is_found() {
        let mut page = Filling::new(100);
        assert_eq!(page.step(), STEP_ITEMS);
        assert_eq!(page.add(vec![1; 64], |_| 1), Wants::More);
        assert_eq!(page.step(), 36);
        assert_eq!(page.add(vec![1; 36], |_| 1), Wants::Nothing);
        assert_eq!(Filling::new(100).add(vec![1], |_| PAGE_BYTES), Wants::Nothing);
        assert_eq!(Filling::new(100).add(Vec::<u8>::new(), |_| 1), Wants::Nothing);
    }
}
