//! The admin API over real sockets, real Channels and both brokers: each promise is a function over a broker, and runs on the
//! embedded store and on JetStream. Needs the guests and a real nats-server: `cargo xtask test` brings both.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot go on ends here")]

mod bulk;
mod channels;
mod client;
mod dead_letters;
mod document;
mod events;
mod live;
mod nats;
mod refusals;
mod scene;
mod told;

macro_rules! promises {
    ($($file:ident { $($promise:ident,)* })*) => {
        mod embedded {
            $($(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $promise() {
                    crate::scene::within(crate::$file::$promise(crate::scene::On::Embedded)).await;
                }
            )*)*
        }
        mod jetstream {
            $($(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $promise() {
                    crate::scene::within(crate::$file::$promise(crate::scene::On::JetStream)).await;
                }
            )*)*
        }
    };
}

promises! {
    events {
        events_are_listed_by_page_filter_and_time,
        data_comes_back_byte_for_byte,
        streams_are_summed_up,
    }
    channels {
        channels_are_listed_by_name_and_shown,
        what_attempts_took_and_how_far_behind_a_channel_is_can_be_told_apart,
        a_paused_channel_takes_nothing_until_it_is_resumed,
    }
    dead_letters {
        dead_letters_are_listed_by_filter_and_page,
        a_replay_goes_to_its_channel_only_and_is_handled,
        a_deleted_dead_letter_is_gone,
    }
    bulk {
        a_replay_of_many_takes_those_of_the_start_only,
        a_replay_stops_when_its_channel_fails_again,
        a_replay_ends_when_its_client_hangs_up,
        a_deletion_of_another_number_changes_nothing,
    }
    live {
        a_tap_shows_what_is_stored_and_says_what_it_left_out,
        a_tap_that_is_not_read_skips_and_says_how_many,
        attempts_are_shown_as_they_settle,
        streams_without_an_end_end_with_the_listener,
    }
    told {
        every_attempt_leaves_a_record,
        a_tree_shows_what_came_of_an_event_through_all_channels,
        events_are_listed_by_what_became_of_them,
        why_is_answered_in_every_situation,
    }
    document {
        every_answer_has_the_documented_fields,
        the_reference_names_every_path_and_every_problem,
        examples_in_the_reference_fit_what_they_show,
    }
    refusals {
        what_cannot_be_used_is_named,
        what_is_not_there_is_said,
    }
}
