// SPDX-License-Identifier: BSD-3-Clause OR Apache-2.0
//! Suite `bo`: buffer objects. Domains, moves, mappings, copies, space, wrong arguments, synchronisation, statistics.

use super::case::{Case, Run};

mod arguments;
mod basics;
mod fences;
mod moves;
mod parallel;
mod space;
mod window;

pub use parallel::{worker, WORKER};
pub use window::{largest_window, paint, read_all, MARK};

const fn once(name: &'static str, run: fn(&super::Ctx) -> anyhow::Result<()>) -> Case {
    Case { name, run: Run::Once(run) }
}

const fn ring(name: &'static str, run: fn(&super::Ctx, u32) -> anyhow::Result<()>) -> Case {
    Case { name, run: Run::PerRing(run) }
}

/// The cases.
pub const CASES: &[Case] = &[
    once("created_where_asked_and_zeroed", basics::created_where_asked_and_zeroed),
    once("freed_memory_does_not_leak_into_new_objects", basics::freed_memory_does_not_leak_into_new_objects),
    once("mappings_read_and_write", basics::mappings_read_and_write),
    once("closed_handle_is_gone_but_its_mapping_stays", basics::closed_handle_is_gone_but_its_mapping_stays),
    once("exported_object_is_shared", basics::exported_object_is_shared),
    once("fdinfo_follows_allocations", basics::fdinfo_follows_allocations),
    once("parameters_follow_allocations", basics::parameters_follow_allocations),
    ring("moves_between_all_domains_keep_the_data", moves::moves_between_all_domains_keep_the_data),
    ring("large_object_goes_round", moves::large_object_goes_round),
    once("mapping_stays_valid_across_moves", moves::mapping_stays_valid_across_moves),
    once("readers_see_the_data_while_it_moves", moves::readers_see_the_data_while_it_moves),
    once("writers_lose_nothing_while_it_moves", moves::writers_lose_nothing_while_it_moves),
    once("moves_and_copies_of_one_object_do_not_mix", moves::moves_and_copies_of_one_object_do_not_mix),
    once("moves_are_counted", moves::moves_are_counted),
    once("random_moves_keep_the_data", moves::random_moves_keep_the_data),
    once("random_copies_match_the_cpu", moves::random_copies_match_the_cpu),
    once("system_object_is_moved_for_a_submission", moves::system_object_is_moved_for_a_submission),
    once("processes_at_once", parallel::processes_at_once),
    once("killed_process_leaves_nothing_behind", parallel::killed_process_leaves_nothing_behind),
    once("idle_objects_make_room_in_vram", space::idle_objects_make_room_in_vram),
    once("idle_objects_make_room_in_the_gart", space::idle_objects_make_room_in_the_gart),
    once("move_into_full_vram_makes_others_leave", space::move_into_full_vram_makes_others_leave),
    once("fragmented_vram_holds_a_large_object_after_frees", space::fragmented_vram_holds_a_large_object_after_frees),
    once("largest_window_reaches_to_its_end", window::largest_window_reaches_to_its_end),
    once("wrong_create_arguments_are_refused", arguments::wrong_create_arguments_are_refused),
    once("wrong_handles_are_refused", arguments::wrong_handles_are_refused),
    once("wrong_moves_are_refused", arguments::wrong_moves_are_refused),
    once("wrong_submissions_are_refused", arguments::wrong_submissions_are_refused),
    once("wrong_relocations_are_refused", arguments::wrong_relocations_are_refused),
    once("wrong_pointers_are_refused", arguments::wrong_pointers_are_refused),
    once("longest_lists_are_taken", arguments::longest_lists_are_taken),
    once("out_fence_signals_when_the_work_is_done", fences::out_fence_signals_when_the_work_is_done),
    once("in_fence_delays_a_submission", fences::in_fence_delays_a_submission),
    once("signalled_in_fence_does_not_delay", fences::signalled_in_fence_does_not_delay),
    once("chain_across_rings_keeps_its_order", fences::chain_across_rings_keeps_its_order),
    once("writers_of_one_object_are_ordered", fences::writers_of_one_object_are_ordered),
    once("wait_tells_busy_from_idle", fences::wait_tells_busy_from_idle),
    once("move_waits_for_the_submission_that_writes", fences::move_waits_for_the_submission_that_writes),
];
