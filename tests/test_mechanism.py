"""The gate on group attention: the embedded model passes, redrawn queries and keys do not."""

import numpy as np
import pandas as pd
import pytest
import torch

from chronos2_attention import Chronos2VariantPipeline
from chronos2_attention.group_mass import cross_group_mass
from study.attention.group_mass import to_leaders
from study.config.datasets import FactorGroups
from study.data.sources import factor_series
from study.evaluation.gates import mechanism_gate, summary, validity_table, with_mechanism

GROUPS = FactorGroups(groups=6, leaders=2, followers=2, length=272, lead=8, noise=0.1)
DRAWS, HORIZON = 16, 16


@pytest.fixture(scope="module")
def trained(repo_root):
    torch.set_num_threads(1)
    return Chronos2VariantPipeline.from_pretrained(repo_root / "resources" / "models" / "nano")


def with_redrawn_queries_and_keys(pipeline):
    """The same weights, but random q and k of the layers of group attention."""
    found = pipeline.with_variant("full")
    state = {name: value.clone() for name, value in pipeline.model.state_dict().items()}
    generator = torch.Generator().manual_seed(0)
    for block in found.model.encoder.block:
        attention = block.layer[1].self_attention
        for layer in (attention.q, attention.k):
            new = torch.randn(layer.weight.shape, generator=generator) * layer.weight.std()
            layer.weight.data.copy_(new)
    return found, state


def proof_of(pipeline):
    """What the workflow measures of the suite of leading factors, on fewer draws."""
    mase, lift = {"full": [], "joint": [], "soft_correlation_t20": []}, []
    for seed in range(1, DRAWS + 1):
        series = factor_series(GROUPS, seed)
        values = np.stack([one.targets["target"] for one in series]).astype(np.float32)
        past, truth = values[:, :-HORIZON], values[:, -HORIZON:]
        scale = np.abs(np.diff(past, axis=1)).mean(axis=1, keepdims=True)
        for variant, found in mase.items():
            quantiles, _ = pipeline.with_variant(variant).predict_quantiles(
                list(past), HORIZON, quantile_levels=[0.5], cutoffs=np.zeros(len(past))
            )
            point = torch.stack([one[0, :, 0] for one in quantiles]).numpy()
            found.append((np.abs(point - truth) / scale).mean())
        led = to_leaders([one.id for one in series])
        assert (led.sum(axis=1) == [0, 0, 2, 2] * 6).all()
        joint = pipeline.with_variant("joint")
        lift.append(cross_group_mass(joint, list(past), HORIZON, counted=led) / led.mean())
    tables = [
        pd.DataFrame({"task_name": map(str, range(DRAWS)), "variant": name, "MASE": found})
        for name, found in mase.items()
    ]
    mass = pd.DataFrame({"layer": range(len(lift[0])), "leader_lift": np.mean(lift, axis=0)})
    return mass, *tables


def test_the_embedded_model_passes_and_random_group_attention_fails(trained):
    proof = proof_of(trained)
    (row,) = mechanism_gate(*proof)
    assert row.verdict == "pass", row.note
    redrawn, state = with_redrawn_queries_and_keys(trained)
    try:
        broken = proof_of(redrawn)
    finally:
        trained.model.load_state_dict(state)
    (row,) = mechanism_gate(*broken)
    assert row.verdict == "fail", row.note
    # Alone, a series attends to itself, whatever queries and keys are: gate 3 sees nothing.
    assert broken[1]["MASE"].tolist() == pytest.approx(proof[1]["MASE"].tolist(), rel=1e-5)
    table = with_mechanism(validity_table([]), *broken)
    assert table["gate"].tolist() == ["mechanism", "all"]
    assert table["verdict"].tolist() == ["fail", "fail"]
    assert "gate mechanism failed" in summary(mechanism_gate(*broken)).reason
