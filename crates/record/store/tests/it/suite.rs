//! `store_suite`: every case on a fresh database of the engine that `open` makes.

use std::future::Future;

use crate::bed::{self, Bed, Place};
use crate::{
    aggregates, cases, consent, crash, kill_receipt, lease, nodes, sidecars, subscription, third_party, trust,
};

/// Runs one case, or nothing when the engine is not there.
async fn on<O, C>(open: impl Fn() -> O, case: impl FnOnce(Bed) -> C)
where
    O: Future<Output = Option<Place>>,
    C: Future<Output = ()>,
{
    let Some(place) = open().await else { return };
    case(Bed::on(place).await).await;
}

macro_rules! store_suite {
    ($open:path; $($module:ident: $($case:ident),* $(,)?;)*) => {$($(
        #[tokio::test]
        async fn $case() {
            super::on($open, $module::$case).await;
        }
    )*)*};
}

macro_rules! both_engines {
    ($($list:tt)*) => {
        mod sqlite {
            use super::*;
            store_suite!(bed::sqlite; $($list)*);
        }
        mod postgres {
            use super::*;
            store_suite!(bed::postgres; $($list)*);
        }
    };
}

both_engines! {
    aggregates:
        tenants,
        identities,
        compositions,
        clients,
        tasks,
        servers,
        credentials,
        policies,
        marks,
        operators,
        a_lifted_suspension_leaves_a_kill,
        the_floor_rises_for_everybody,
        another_node_catches_up,
        the_snapshot_starts_from_every_row;
    nodes:
        a_fenced_node_writes_nothing_until_it_is_let_in,
        a_leaders_duty_is_refused_under_an_older_term,
        an_invitation_is_used_once_and_in_time,
        what_others_committed_is_told_first_and_once,
        a_node_far_behind_does_not_refuse_what_it_cannot_write,
        a_node_that_left_says_so,
        a_word_is_believed_only_as_a_node_said_it,
        a_second_process_under_a_name_is_refused_while_the_first_lives,
        what_one_node_took_works_at_no_other;
    cases:
        the_log_has_no_gap,
        a_repeated_command_is_one_command,
        tenants_do_not_see_each_other,
        all_tenants_are_read_with_an_entry,
        a_name_is_unique_among_the_living,
        a_stale_transition_is_refused,
        a_refusal_leaves_nothing,
        nothing_done_is_nothing_recorded,
        one_commit_serves_many,
        a_kill_goes_first,
        an_altered_order_is_an_error_and_an_erased_one_unknown,
        commits_are_observed_in_order,
        pages_follow_ids,
        a_corrupt_row_is_named,
        the_log_only_grows,
        a_payload_belongs_to_its_leaf,
        an_opening_belongs_to_its_tenant;
    consent:
        a_client_asks_until_it_is_removed_for_good,
        a_consent_moves_one_step_at_a_time,
        a_consent_that_is_altered_is_named_at_a_start;
    kill_receipt:
        a_receipt_begins_with_its_mark_and_goes_on_from_what_was_read,
        a_mark_on_everything_has_its_receipt_with_the_installation,
        lifting_takes_every_milder_mark_along_and_leaves_a_kill;
    crash:
        a_crash_loses_nothing_that_was_answered,
        a_caller_that_goes_away_changes_nothing,
        a_panic_stops_one_command,
        a_closed_store_refuses,
        two_writers_share_one_log,
        a_second_start_fences_the_first,
        a_newer_schema_is_refused,
        a_lost_connection_is_opened_again,
        an_interrupted_commit_is_run_again;
    lease:
        a_lease_keeps_its_secret_until_it_opens_nothing,
        a_lease_is_found_until_nothing_is_left_of_it_and_one_that_is_altered_is_named;
    sidecars:
        a_sidecar_joins_once_and_stays_by_its_name,
        facts_of_some_tenants_are_theirs_alone,
        of_a_sidecar_nothing_is_believed_that_no_node_wrote;
    subscription:
        a_subscription_keeps_its_secret_until_it_is_removed,
        a_transmitter_speaks_until_it_is_removed_and_for_one_tenant,
        how_far_somebody_is_has_no_entry_and_entries_come_from_there;
    third_party:
        a_credential_that_is_gone_or_altered_is_named_at_a_start,
        a_damaged_row_is_due_and_hides_no_other,
        a_rotation_keeps_both_secrets_until_its_end,
        a_rotation_is_due_by_its_schedule,
        a_schedule_behind_the_expiry_is_never_due,
        a_slot_has_one_credential_until_that_is_revoked_removed_or_corrected,
        a_staged_secret_opens_in_its_own_place_only,
        any_number_of_unknown_consumers_leaves_a_row_that_can_be_read,
        what_is_to_end_comes_first_and_nothing_that_waits_hides_anything;
    trust:
        a_rule_is_loaded_until_it_is_withdrawn_for_good,
        a_rule_that_is_altered_is_named_at_a_start;
}
