"""Train a small Chronos-2 on synthetic series, or go on from the last checkpoint; write a card."""

from pathlib import Path

import pandas as pd
import torch

from pretraining.model_card import Scores, save_checkpoint, write_card
from pretraining.settings import load_settings
from pretraining.training import build_model, train
from study.jobs.devices import pick_device
from study.jobs.script import rule_script


def main(snakemake) -> None:
    params, output = snakemake.params, snakemake.output
    architecture, data, training, notes = load_settings(params.settings[0].path, params.steps)
    device = pick_device("auto")
    torch.set_num_threads(snakemake.threads)
    # By number of steps, so that a short trial leaves a long training's state alone; renamed, it
    # may go on with another number while the learning rate is constant.
    checkpoint = Path(params.checkpoints) / f"{training.steps}.pt"
    model, history = train(architecture, data, training, checkpoint, device)

    untrained = build_model(architecture, training.seed).to(device).eval()
    scores = Scores.of(model, untrained)
    folder = Path(output.weights).parent
    save_checkpoint(model, folder)
    card = write_card(model, data, training, history, scores, device, notes)
    Path(output.card).write_text(card, encoding="utf-8")
    losses = pd.DataFrame(history.losses, columns=["step", "loss"])
    losses.to_csv(output.losses, index=False)
    checkpoint.unlink(missing_ok=True)


if __name__ == "__main__":
    # The worker that draws batches imports this file under another name and must not train.
    with rule_script(snakemake):
        main(snakemake)
