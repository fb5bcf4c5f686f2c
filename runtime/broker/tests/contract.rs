//! One suite of promises, run on every broker: what a caller may rely on whichever stores its events.
//!
//! A promise is a function over a [`contract::fixture::Fixture`]; a broker joins with one line at the end of this file. What only one
//! broker does is in test files of its own. Needs a real nats-server: `cargo xtask test` brings one.

#![allow(unreachable_pub, clippy::expect_used)] // a test crate: what is not there fails the test

mod support;

mod contract {
    pub mod dead_letters;
    pub mod fixture;
    pub mod handing_out;
    pub mod history;
    pub mod journal;
    pub mod plan;
    pub mod publish;
    pub mod scene;
    pub mod settle;
    pub mod state;
    pub mod switches;
}

/// Longest time for one promise.
const PROMISE_SECONDS: u64 = 90;

async fn within(promise: impl Future<Output = ()>) {
    let patience = std::time::Duration::from_secs(PROMISE_SECONDS);
    tokio::time::timeout(patience, promise).await.expect("the promise hangs");
}

macro_rules! contract {
    ($broker:ident on $fixture:ty) => {
        contract! { $broker on $fixture:
            publish {
                a_receipt_names_the_events_place,
                an_event_comes_out_as_it_went_in,
                a_repeated_id_is_a_duplicate_on_its_own_subject_only,
                cloud_events_are_duplicates_by_source_and_id,
                duplicates_are_known_after_a_restart,
                a_batch_has_one_result_for_each_in_order,
                an_unknown_stream_is_refused,
                what_is_too_large_is_refused_and_the_largest_is_stored,
                a_full_stream_that_discards_new_says_so,
            }
            handing_out {
                every_channel_gets_what_it_subscribed_to,
                two_feeds_of_one_channel_share_its_events,
                no_more_is_handed_out_than_wanted,
                a_channel_starts_where_it_says,
                strict_order_hands_out_one_at_a_time,
                a_restart_hands_out_what_was_not_settled,
                a_dropped_fill_loses_nothing,
                lag_counts_what_is_left,
            }
            settle {
                emissions_are_stored_in_order_before_the_settlement,
                a_batch_settles_each_in_its_own_way,
                emissions_of_a_second_attempt_are_stored_once,
                a_repeated_set_does_not_keep_a_new_one_out,
                emissions_are_stored_all_or_none,
                too_many_emissions_are_refused,
                a_retry_comes_back_later_as_another_attempt,
                what_is_given_back_comes_at_once_and_burns_no_attempt,
                a_sign_of_life_keeps_a_delivery,
                a_delivery_without_a_sign_of_life_comes_again,
            }
            dead_letters {
                a_dead_letter_keeps_event_and_reason_and_takes_the_event_from_its_channel,
                a_replay_reaches_its_channel_only,
                a_deleted_dead_letter_is_gone,
                dead_letters_are_listed_by_filter_and_page,
            }
            history {
                what_was_settled_is_told_after_a_restart,
                nothing_is_kept_when_the_configuration_says_so,
                a_consumer_says_where_it_stands,
            }
            journal {
                a_page_is_read_from_a_sequence_or_a_time,
                one_event_is_read_by_its_sequence,
                a_tail_shows_what_is_stored_from_now_on,
            }
            plan {
                preparing_twice_is_quiet,
                changed_limits_are_reconciled,
            }
            state {
                what_an_event_changed_is_there_once_it_is_settled_and_after_a_restart,
                an_event_that_read_what_another_one_changed_since_stores_nothing,
                settlements_of_one_batch_build_on_each_other,
                a_key_that_is_deleted_is_gone_and_may_come_again,
                keys_are_listed_once_each_page_by_page,
                any_text_is_a_key_up_to_its_length,
                state_is_each_channels_own_and_needs_a_plan,
            }
            switches {
                a_switch_is_seen_and_survives_a_restart,
            }
        }
    };
    ($broker:ident on $fixture:ty: $($file:ident { $($promise:ident,)* })*) => {
        mod $broker {
            use crate::contract::fixture::Fixture;
            $($(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $promise() {
                    crate::within(async {
                        crate::contract::$file::$promise(<$fixture>::start().await).await;
                    })
                    .await;
                }
            )*)*
        }
    };
}

#[cfg(feature = "jetstream")]
contract!(jetstream on crate::contract::fixture::Jetstream);
contract!(embedded on crate::contract::fixture::Embedded);
