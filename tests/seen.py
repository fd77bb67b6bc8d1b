"""Kinds of faults, the tests that hold each, and what these saw; printed at the end of a run."""

from __future__ import annotations

from collections import Counter

# A kind, and how the ids of its tests begin.
KINDS = {
    "labels are text": """
        test_cells::test_ids test_cells::test_a_row_without test_cells::test_rows
        test_cells::test_names_in_results test_cells::test_only_one_function
        """,
    "a changed source is noticed": "test_workflow::test_a_changed_source test_reruns::",
    "time zones": """
        test_cells::test_hours_become test_cells::test_a_local_day test_cells::test_times_that
        test_cells::test_messages_name_the_zone
        """,
    "aggregation": "test_recipes::",
    "numbers that are no data": """
        test_cells::test_numbers test_cells::test_every_kind test_cells::test_what
        test_cells::test_text_of test_cells::test_a_data_set_has_one_frequency
        """,
    "features by name": "test_slices::test_a_feature test_slices::test_two_columns",
    "threads": "test_pipeline::test_threads test_pipeline::test_no_call_sets",
    "fine-tuning keeps the variant": """
        test_drop_in::test_the_loss test_drop_in::test_the_variant_holds
        test_drop_in::test_a_fev_task test_drop_in::test_a_longer_horizon
        """,
    "wrap-around": """
        test_pipeline::test_numbers_beyond test_pipeline::test_a_chunk_size test_variants::
        """,
    "NaN and inf in settings": "test_mutations::test_no_file_takes",
    "weights that are none": "test_checkpoint::test_a_tensor test_checkpoint::test_weights",
    "arguments of loading": """
        test_drop_in::test_arguments test_drop_in::test_subfolder test_drop_in::test_calls
        test_drop_in::test_frames test_drop_in::test_m test_drop_in::test_an_adapter
        test_checkpoint::test_loose
        """,
    "what is saved, upstream loads": "test_drop_in::test_what_either_saves",
    "layers that the fast path cannot run": """
        test_pipeline::test_where_the_fast test_pipeline::test_both_paths
        test_pipeline::test_inference_mode test_pipeline::test_numbers_of_any
        """,
    "odd arguments": "test_pipeline::test_odd test_pipeline::test_a_model_called",
    "no absolute path in a parameter": "test_reruns::test_a_moved test_reruns::test_a_study",
    "paths with spaces and quotes": "test_reruns::test_a_moved",
    "names of studies and results": "test_targets::",
    "interrupts, disks and folders": "test_faults::",
    "faults of a server": "test_download::test_every_fault test_hub::",
    "bounds of a download": """
        test_download::test_bounds test_download::test_an_endless test_download::test_a_body
        test_hub::test_a_download_that_never
        """,
    "nothing outside the cache is deleted": "test_hub::test_nothing_outside",
    "proxies, certificates and tokens": "test_download::test_a_variable test_download::test_a_s",
    "messages quote little": "test_mutations::test_a_message test_cells::test_messages_quote",
    "any bad input": """
        test_mutations:: test_cells::test_a_spoilt test_cells::test_a_key test_bad_input::
        """,
}
ROWS: dict[str, dict[str, str]] = {}


def seen(kind: str, tried: str, result: object) -> None:
    """Add a row: the kind of fault, the input that was tried, and what came of it."""
    ROWS.setdefault(kind, {})[tried] = " ".join(str(result).split())


def of_kind(tests: str, ids: list[str]) -> list[str]:
    """Return those of the ids of tests, ``tests/FILE.py::NAME[INPUT]``, that belong to a kind."""
    starts = tuple(f"tests/{test.replace('::', '.py::')}" for test in tests.split())
    return [test for test in ids if test.startswith(starts)]


def lines(outcomes: dict[str, str]) -> list[str]:
    """Return the table, given the outcome of each test: kinds, their tests and inputs, results."""
    found = []
    for number, (kind, tests) in enumerate(KINDS.items(), start=1):
        inputs: dict[str, list[str]] = {}
        ran = of_kind(tests, list(outcomes))
        for test in ran:
            name, _, tried = test.partition("::")[2].removeprefix("test_").partition("[")
            inputs.setdefault(name, []).append(tried.removesuffix("]"))
        told = Counter(outcomes[test] for test in ran)
        if ran:
            found.append(f"{number}. {kind}: {', '.join(f'{n} {o}' for o, n in told.items())}")
        for name, tried in inputs.items():
            found.append(f"    {name} ({len(tried)}) {', '.join(filter(None, tried))}"[:200])
        for tried, result in ROWS.get(kind, {}).items():
            found.append(f"        {tried[:60]:<60}  {result[:160]}")
    return found
