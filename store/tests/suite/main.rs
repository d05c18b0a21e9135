//! One set of cases for every engine: whatever the tables rely on holds here.

#[cfg(test)]
mod cases;
#[cfg(test)]
mod model;
#[cfg(test)]
mod stores;

/// Runs the cases over each engine, as `sled::…` and `memory::…`.
macro_rules! suite {
    ($($case:ident)*) => {
        #[cfg(test)]
        mod sled {
            $(#[test] fn $case() { crate::cases::$case(&mut crate::stores::Sled::new()); })*
        }
        #[cfg(test)]
        mod memory {
            $(#[test] fn $case() { crate::cases::$case(&mut crate::stores::Memory::new()); })*
        }
    };
}

suite! {
    a_row_is_put_read_and_removed
    the_last_write_of_a_batch_wins
    pages_are_read_from_both_ends
    a_page_keeps_to_its_bounds_and_limit
    a_page_steps_over_the_engine_keys
    guards_see_the_batches_before_them
    a_failed_guard_changes_nothing_and_disturbs_nobody
    a_guard_looks_at_the_rows_before_its_batch
    a_guard_on_a_range_sees_what_the_batches_before_it_put_and_removed
    batches_without_writes_are_answered
    what_is_too_large_is_refused_alone
    the_largest_batch_is_taken
    reserved_keys_are_refused_and_never_found
    reopening_keeps_everything
    a_store_is_opened_once
    a_closed_store_answers_closed
    many_producers_lose_nothing
    a_commit_can_be_awaited
    a_dropped_commit_is_still_written
    size_on_disk_counts_the_rows
}
