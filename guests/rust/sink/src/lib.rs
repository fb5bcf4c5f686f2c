//! Takes each event and says nothing: what a call costs when the guest does no work.

use saf_channel::Event;

saf_channel::handler!(sink);

fn sink(_event: Event) {}
