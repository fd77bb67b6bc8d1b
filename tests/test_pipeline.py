"""A pipeline shared by threads, and used as upstream's may be used: odd arguments, odd layers."""

import logging
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from threading import Barrier

import numpy as np
import pandas as pd
import pytest
import torch
from chronos.chronos2 import Chronos2Pipeline
from small_model import build_upstream_model
from torch.nn.utils import prune

from chronos2_attention import Chronos2VariantPipeline, InputError
from chronos2_attention.attention_mass import attention_mass
from chronos2_attention.group_mass import cross_group_mass
from chronos2_attention.similarity import similarity
from chronos2_attention.variants import Joint, Soft

VARIANTS = [
    *("full", "sparse_r0", "sparse_r3", "sparse_r3_regglobal", "sparse_r2_every3"),
    *("joint", "joint_leaking", "soft_correlation_t5", "soft_cosine_t1", "soft_distance_t20"),
    *("soft_correlation-permuted_t2", "soft_distance-uniform_t2", "soft_uniform_t5"),
    *("soft_correlation_t5_leaking", "univariate", "cluster_cosine_k2"),
]
THREADS, REQUESTS = 8, 48
UNSEEN = "ignore:We recommend keeping prediction length"


def walks(seed, lengths):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=length).cumsum().astype(np.float32) for length in lengths]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pipeline")
    build_upstream_model(seed=7).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def upstream(folder):
    return Chronos2Pipeline.from_pretrained(folder)


@pytest.fixture
def ours(folder):
    return Chronos2VariantPipeline.from_pretrained(folder)


def frame_of(series):
    return pd.concat(
        pd.DataFrame(
            {
                "item_id": f"item {number}",
                "timestamp": pd.date_range(end="2024-06-30", periods=len(values), freq="D"),
                "target": values,
            }
        )
        for number, values in enumerate(series)
    )


def request(pipeline, number):
    """One of many different calls: sizes, horizons, similarities, cutoffs, seeds, probes."""
    rng = np.random.default_rng(number)
    series = walks(number, rng.integers(9, 130, size=2 + number % 5))
    options = {"prediction_length": (5, 16, 40, 90)[number % 4], "batch_size": 1 + number % 6}
    if number % 6 == 5:
        return pipeline.predict_df(frame_of(series), **options).select_dtypes("number").to_numpy()
    if number % 6 == 4 and isinstance(pipeline.variant, Joint | Soft):
        return cross_group_mass(pipeline, series, 16, seed=number)
    if number % 6 == 4:
        return attention_mass(pipeline, series, 16).by_distance
    if pipeline.variant.mixes_series and number % 2:
        options["similarity"] = similarity(series, "correlation")
        options["cutoffs"] = rng.integers(0, 2, len(series))
    if pipeline.variant.mixes_series:
        options["seed"] = number
    return torch.cat(pipeline.predict(series, **options)).numpy()


@pytest.fixture
def many_switches():
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(interval)


def in_threads(calls):
    """Make calls from several threads that begin together; return what they return, in order."""
    barrier = Barrier(THREADS)
    with ThreadPoolExecutor(THREADS, initializer=barrier.wait) as pool:
        return list(pool.map(lambda call: call(), calls))


@pytest.mark.filterwarnings(UNSEEN)
@pytest.mark.parametrize("variant", VARIANTS)
def test_threads_that_share_a_pipeline_get_the_serial_forecasts(ours, variant, many_switches):
    pipeline = ours.with_variant(variant)
    serial = [request(pipeline, number) for number in range(REQUESTS)]
    shared = in_threads([lambda n=n: request(pipeline, n) for n in range(REQUESTS)])
    for alone, beside in zip(serial, shared, strict=True):
        np.testing.assert_array_equal(alone, beside)


@pytest.mark.filterwarnings(UNSEEN)
def test_threads_that_share_weights_get_the_forecasts_of_their_variants(ours, many_switches):
    numbers = range(0, REQUESTS, 4)
    calls = [
        lambda v=variant, n=number: request(ours.with_variant(v), n)
        for number in numbers
        for variant in VARIANTS
    ]
    for alone, beside in zip([call() for call in calls], in_threads(calls), strict=True):
        np.testing.assert_array_equal(alone, beside)


@pytest.mark.filterwarnings(UNSEEN)
@pytest.mark.parametrize("variant", VARIANTS)
def test_no_call_sets_anything_on_what_others_see(ours, variant, monkeypatch):
    pipeline = ours.with_variant(variant)
    request(pipeline, 0)  # what is kept for good is made once: products of the weights
    shared = {id(part) for part in (pipeline, *pipeline.model.modules())}
    seen = []

    def watch(kind):
        plain = kind.__setattr__

        def setattr_seen(self, name, value):
            seen.extend([name] if id(self) in shared else [])
            plain(self, name, value)

        monkeypatch.setattr(kind, "__setattr__", setattr_seen)

    watch(Chronos2VariantPipeline)
    watch(torch.nn.Module)
    for number in range(12):
        request(pipeline, number)
    assert seen == []


def outcome(call):
    """What a call returns, or its exception's type and message; with its warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            found = call()
        except Exception as error:
            found = (type(error), str(error))
    kept = {(w.category, str(w.message)) for w in caught if "Pandas" not in w.category.__name__}
    return found, kept


def assert_same(theirs, ours):
    assert type(theirs) is type(ours), f"{theirs} / {ours}"
    if isinstance(theirs, torch.Tensor):
        assert theirs.dtype == ours.dtype
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5, equal_nan=True)
    elif isinstance(theirs, pd.DataFrame):
        pd.testing.assert_frame_equal(ours, theirs, atol=1e-5, rtol=1e-5)
    elif isinstance(theirs, list | tuple):
        assert len(theirs) == len(ours)
        for one, other in zip(theirs, ours, strict=True):
            assert_same(one, other)
    else:
        assert theirs == ours


SERIES = walks(0, (40, 30, 100))
EMPTY = np.zeros(0, np.float32)
INPUTS = {
    "list": SERIES,
    "one": SERIES[:1],
    "rows": [series[None] for series in SERIES],
    "array": np.stack([series[:30] for series in SERIES])[:, None],
    "dicts": [{"target": series} for series in SERIES],
    "no list": [],
    "no tuple": (),
    "no tensor": torch.zeros(0, 1, 10),
    "no array": np.zeros((0, 2, 10)),
    "an empty series": [SERIES[0], EMPTY],
    "empty rows": [EMPTY[None], EMPTY[None]],
    "an empty row": [SERIES[0][None], EMPTY[None]],
    "no time": np.zeros((2, 1, 0), np.float32),
    "no variates": np.zeros((2, 0, 9), np.float32),
    "empty dicts": [{}, {}],
    "nothing": None,
    "text": [np.array(["a", "b"]), np.array(["c", "d"])],
}
ODD = [0, -1, 2.5, None, True, "3", 2**63, np.int8(3)]
ARGUMENTS = [
    {},
    *({"batch_size": value} for value in ODD),
    *({"context_length": value} for value in ODD),
    *({"prediction_length": value} for value in ODD if value != 2**63),
    {"prediction_length": 65},
    {"prediction_length": 65, "limit_prediction_length": True},
    {"max_output_patches": 0},
    {"max_output_patches": 1, "prediction_length": 40},
    {"unrolled_quantiles": [0.123]},
    {"predict_batches_jointly": True},
    {"predict_batches_jointly": None},
    {"nonsense": 1},
]
CASES = [
    *((kind, arguments) for kind in ("list", "one", "array", "no list") for arguments in ARGUMENTS),
    *((kind, {}) for kind in INPUTS),
]


@pytest.mark.parametrize("method", ["predict", "predict_quantiles"])
@pytest.mark.parametrize("cross_learning", [False, True], ids=["alone", "cross"])
def test_odd_arguments_do_what_they_do_upstream(upstream, ours, method, cross_learning):
    for kind, arguments in CASES:
        options = {"prediction_length": 5, "cross_learning": cross_learning, **arguments}
        wanted = outcome(lambda o=options, k=kind: getattr(upstream, method)(INPUTS[k], **o))
        pipelines = [ours] + ([ours.with_variant("joint")] if cross_learning else [])
        for pipeline in pipelines:
            found = outcome(
                lambda p=pipeline, o=options, k=kind: getattr(p, method)(INPUTS[k], **o)
            )
            assert_same(wanted[0], found[0])
            assert wanted[1] == found[1], (kind, arguments)


@pytest.mark.parametrize("kind", INPUTS)
def test_odd_arguments_of_embed_do_what_they_do_upstream(upstream, ours, kind):
    asked = [a for a in ARGUMENTS if not a or {"batch_size", "context_length"} & a.keys()]
    for arguments in asked:
        wanted = outcome(lambda a=arguments: upstream.embed(INPUTS[kind], **a))
        assert_same(wanted, outcome(lambda a=arguments: ours.embed(INPUTS[kind], **a)))


@pytest.mark.parametrize("cross_learning", [False, True], ids=["alone", "cross"])
@pytest.mark.parametrize("kind", ["whole", "no rows", "no ids", "no times", "one row", "numbers"])
def test_odd_frames_do_what_they_do_upstream(upstream, ours, kind, cross_learning):
    whole = frame_of(SERIES)
    frame = {
        "whole": whole,
        "no rows": whole.iloc[:0],
        "no ids": whole.drop(columns="item_id"),
        "no times": whole.assign(timestamp="never"),
        "one row": whole.iloc[:1],
        "numbers": whole.assign(timestamp=range(len(whole))),
    }[kind]
    for arguments in ARGUMENTS if kind in ("whole", "no rows") else [{}, {"freq": "D"}]:
        options = {"prediction_length": 5, "cross_learning": cross_learning, **arguments}
        wanted = outcome(lambda o=options: upstream.predict_df(frame, **o))
        assert_same(wanted, outcome(lambda o=options: ours.predict_df(frame, **o)))


def test_a_model_called_with_nothing_to_forecast_answers_as_upstream(upstream, ours):
    for shape, patches in [((2, 40), 0), ((0, 40), 1), ((2, 0), 1), ((2, 40), -1)]:
        with torch.no_grad():
            theirs, mine = (
                outcome(
                    lambda p=p, s=shape, n=patches: p.model(torch.ones(s), num_output_patches=n)
                )
                for p in (upstream, ours)
            )
        assert_same(
            *(a[0] if isinstance(a[0], tuple) else a[0].quantile_preds for a in (theirs, mine))
        )


def worst(theirs, ours):
    return max(float((one - other).abs().max()) for one, other in zip(theirs, ours, strict=True))


def quantised(model):
    return torch.ao.quantization.quantize_dynamic(model, {torch.nn.Linear}, dtype=torch.qint8)


def hooked(model):
    model.encoder.block[1].layer[2].mlp.wo.register_forward_hook(lambda *_: None)
    return model


def adapted(model):
    class Adapted(torch.nn.Linear):
        def forward(self, x):
            return 1.5 * super().forward(x)

    model.encoder.block[0].layer[1].self_attention.o.__class__ = Adapted
    return model


def biased(model):
    layer = model.encoder.block[0].layer[0].self_attention.o
    layer.bias = torch.nn.Parameter(torch.full((layer.out_features,), 0.5))
    return model


def pruned(model):
    layer = model.encoder.block[2].layer[0].self_attention.q
    prune.l1_unstructured(layer, "weight", amount=0.3)
    return model


class Coded(torch.nn.Parameter):
    """A parameter that stands for other numbers than it holds, as quantised and sharded ones do."""


def coded(model):
    layer = model.encoder.block[2].layer[2].mlp.wi
    layer.weight = Coded(layer.weight.detach())
    return model


def bare(model):
    layer = model.encoder.block[0].layer[2].mlp.wo
    layer._parameters["weight"] = layer.weight.detach()  # as `torch.func.functional_call` does
    return model


OBSTACLES = {
    "autocast": (lambda model: model, lambda: torch.autocast("cpu", torch.bfloat16), "autocast"),
    "quantised": (quantised, nullcontext, "quantized.dynamic"),
    "hooked": (hooked, nullcontext, "hook"),
    "adapted": (adapted, nullcontext, "Adapted"),
    "biased": (biased, nullcontext, "bias"),
    "pruned": (pruned, nullcontext, "hook"),
    "coded": (coded, nullcontext, "type Coded"),
    "bare": (bare, nullcontext, "type Tensor"),
}


@pytest.mark.filterwarnings(UNSEEN)
@pytest.mark.filterwarnings("ignore:torch.ao.quantization is deprecated")
@pytest.mark.parametrize("obstacle", OBSTACLES)
def test_where_the_fast_path_cannot_run_upstreams_does_and_says_so_once(folder, obstacle, caplog):
    change, context, words = OBSTACLES[obstacle]
    theirs = Chronos2Pipeline(change(Chronos2Pipeline.from_pretrained(folder).model))
    ours = Chronos2VariantPipeline(change(Chronos2VariantPipeline.from_pretrained(folder).model))
    series = walks(3, (60, 17, 200))
    with context(), caplog.at_level(logging.WARNING, logger="chronos2_attention"):
        for horizon in (20, 90):
            options = {"prediction_length": horizon}
            assert worst(theirs.predict(series, **options), ours.predict(series, **options)) == 0
            options["cross_learning"] = True
            for pipeline in (ours, ours.with_variant("joint")):
                assert (
                    worst(theirs.predict(series, **options), pipeline.predict(series, **options))
                    == 0
                )
        assert worst(theirs.embed(series)[0], ours.embed(series)[0]) == 0
        with pytest.raises(InputError, match=words):
            attention_mass(ours, series, 16)
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 1, told
    assert words in told[0]
    assert ours.describe()["backend"] == "upstream"


@pytest.mark.filterwarnings(UNSEEN)
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("horizon", [20, 90])
def test_both_paths_forecast_alike_under_every_variant(ours, variant, horizon):
    series = walks(5, (60, 60, 17, 200))
    pipeline = ours.with_variant(variant)
    fast = pipeline.predict(series, prediction_length=horizon)
    hooked(ours.model)
    assert worst(pipeline.predict(series, prediction_length=horizon), fast) < 1e-4
    assert "upstream" in pipeline.model.backends_used


@pytest.mark.filterwarnings(UNSEEN)
@pytest.mark.parametrize("loaded_in_inference", [False, True])
@pytest.mark.parametrize("used_in_inference", [False, True])
def test_inference_mode_changes_nothing(folder, upstream, loaded_in_inference, used_in_inference):
    with torch.inference_mode(loaded_in_inference):
        ours = Chronos2VariantPipeline.from_pretrained(folder)
    series = walks(4, (60, 17, 200))
    wanted = upstream.predict(series, prediction_length=90)
    for context in (torch.inference_mode(used_in_inference), nullcontext()):
        with context:
            assert worst(wanted, ours.predict(series, prediction_length=90)) < 1e-4
            for variant in VARIANTS:
                ours.with_variant(variant).predict(series, prediction_length=20)
    assert "upstream" not in ours.model.backends_used


def test_weights_of_inference_mode_that_change_are_noticed(upstream):
    with torch.inference_mode():
        model = build_upstream_model(seed=7)
        ours = Chronos2VariantPipeline(_as_ours(model))
        before = ours.predict(SERIES, prediction_length=8)
        for block in ours.model.encoder.block:
            block.layer[1].self_attention.o.weight.mul_(3)
        assert worst(before, ours.predict(SERIES, prediction_length=8)) > 1e-3
        theirs = Chronos2Pipeline(model).predict(SERIES, prediction_length=8)
        assert worst(theirs, ours.predict(SERIES, prediction_length=8)) < 1e-4


def _as_ours(model):
    from chronos2_attention.model import Chronos2VariantModel

    ours = Chronos2VariantModel(model.config).eval()
    ours.load_state_dict(model.state_dict(), assign=True)
    return ours


@pytest.mark.parametrize("variant", ["full", "sparse_r3", "joint", "soft_cosine_t2"])
@pytest.mark.parametrize(
    "convert",
    [
        lambda x: torch.tensor(x).bfloat16(),
        lambda x: torch.tensor(x).half(),
        lambda x: torch.tensor(x).double().requires_grad_(),
        lambda x: torch.tensor(x).to(torch.int16),
        lambda x: x.astype(np.float64),
        lambda x: x.astype(np.int8),
        lambda x: x > 0,
        lambda x: [torch.tensor(x).bfloat16(), x][len(x) % 2],
    ],
    ids=["bfloat16", "half", "grad", "int16", "float64", "int8", "bool", "mixed"],
)
def test_numbers_of_any_precision(upstream, ours, variant, convert):
    series = [convert(values) for values in walks(6, (60, 17, 200, 60))]
    found = ours.with_variant(variant).predict(series, prediction_length=8)
    plain = [torch.as_tensor(values).detach().float().numpy() for values in series]
    assert worst(found, ours.with_variant(variant).predict(plain, prediction_length=8)) == 0
    if variant == "full":
        assert worst(found, upstream.predict(series, prediction_length=8)) < 1e-4


@pytest.mark.skipif(not torch.cuda.is_available(), reason="SKIPPED, NOT PASSED: no CUDA device")
@pytest.mark.parametrize("variant", ["full", "sparse_r3", "joint", "soft_cosine_t2"])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_series_on_a_gpu(folder, variant, device):
    ours = Chronos2VariantPipeline.from_pretrained(folder, device_map=device, variant=variant)
    series = walks(6, (60, 17, 200, 60))
    found = ours.predict([torch.tensor(x).cuda() for x in series], prediction_length=8)
    assert worst(found, ours.predict(series, prediction_length=8)) < 1e-4


@pytest.mark.parametrize("huge", [2**31, 2**62, 2**63 - 1, 2**63, 2**64 + 3, 10**30])
def test_numbers_beyond_an_integer_are_as_good_as_large_ones(ours, huge):
    series = walks(8, (600, 17, 300, 300))
    options = {"prediction_length": 20}
    for large, name in [
        ("sparse_r999", f"sparse_r{huge}"),
        ("sparse_r999_regglobal", f"sparse_r{huge}_regglobal"),
        ("sparse_r2_every999", f"sparse_r2_every{huge}"),
        ("sparse_r999_every5", f"sparse_r{huge}_every5"),
    ]:
        for backend in ("auto", "reference", "banded"):
            if backend == "banded" and "every" in name:
                continue
            wanted, found = (
                ours.with_variant(v, backend=backend).predict(series, **options)
                for v in (large, name)
            )
            assert worst(wanted, found) == 0, (name, backend)
    chunked = ours.with_variant("sparse_r3", backend="banded", chunk_size=huge)
    plain = ours.with_variant("sparse_r3", backend="banded", chunk_size=9999)
    assert worst(chunked.predict(series, **options), plain.predict(series, **options)) == 0
    for variant in ("full", "joint", "soft_cosine_t2"):
        pipeline = ours.with_variant(variant)
        with pytest.warns(UserWarning, match="Resetting context_length"):
            found = pipeline.predict(series, batch_size=huge, context_length=huge, **options)
        assert worst(pipeline.predict(series, batch_size=999, **options), found) == 0
    strict = ours.with_variant(Soft("cosine", huge)).predict(series, **options)
    assert worst(ours.predict(series, **options), strict) < 1e-4


@pytest.mark.parametrize("chunk_size", [0, -1, 2.5, "8"])
def test_a_chunk_size_is_a_whole_number(ours, chunk_size):
    with pytest.raises(InputError, match="chunk_size"):
        ours.with_variant("sparse_r8", chunk_size=chunk_size)


@pytest.mark.parametrize("value", [0, -1, 2.5, "3"])
def test_probes_refuse_lengths_that_are_none(ours, value):
    for probe, pipeline in [(attention_mass, ours), (cross_group_mass, ours.with_variant("joint"))]:
        with pytest.raises(InputError, match="prediction_length"):
            probe(pipeline, SERIES, value)
        with pytest.raises(InputError, match="context_length"):
            probe(pipeline, SERIES, 16, context_length=value)
