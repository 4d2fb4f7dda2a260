"""Writes tests/sources/files: small logs of made-up runs, in the exact form of each trainer.

``python tests/sources/make_files.py`` writes them again, byte for byte the same.
"""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np

FILES = Path(__file__).parent / "files"


def losses(steps, seed: int, noise: float = 0.02) -> np.ndarray:
    """A made-up curve."""
    steps = np.asarray(steps, dtype=float)
    rng = np.random.default_rng(seed)
    return 2.5 + 8.5 * (1 + steps / 8) ** -0.45 + rng.normal(0, noise, len(steps))


def write(name: str, text: str) -> None:
    (FILES / name).write_text(text, encoding="utf-8", newline="")


def llmc() -> None:
    lines = []
    n = 120
    for step, loss in enumerate(losses(range(n), 1)):
        if step % 40 == 0:
            lines.append(f"s:{step} tel:{loss + 0.05:.4f}")
            lines.append(f"s:{step} eval:{0.25 + step / 4000:.4f}")
        if step == 90:  # stopped, and resumed at 80
            for again, value in enumerate(losses(range(80, 90), 2), start=80):
                lines.append(f"s:{again} trl:{value:.4f} lr:0.000100 norm:1.01")
        rate = 6e-4 * min((step + 1) / 10, 1) * (1 - step / n) ** 4
        lines.append(f"s:{step} trl:{loss:.4f} lr:{rate:.6f} norm:{1 + step / 100:.2f}")
    lines.append(f"s:{n} tel:{losses([n], 1)[0]:.4f}")
    write("main.log", "\n".join(lines) + "\n")


def llmc_python() -> None:
    lines = []
    for step, loss in enumerate(losses(range(60), 3)):
        if step % 20 == 0:
            lines.append(f"s:{step} tel:{loss:.6f}")
        lines.append(f"s:{step} trl:{loss:.6f}")
    write("python_family.log", "\n".join(lines) + "\n")


def nanogpt() -> None:
    lines = [
        "Overriding config with config/train_gpt2.py:",
        "tokens per iteration will be: 491,520",
        "found vocab_size = 50304 (inside data/openwebtext/meta.pkl)",
        "number of parameters: 123.59M",
        "num decayed parameter tensors: 50, with 124,354,560 parameters",
        "compiling the model... (takes a ~minute)",
    ]
    steps = range(0, 400, 10)
    for step, loss in zip(steps, losses(steps, 4, 0.08), strict=True):
        if step % 100 == 0:
            lines.append(f"step {step}: train loss {loss:.4f}, val loss {loss + 0.02:.4f}")
            lines.append("saving checkpoint to out")
        lines.append(f"iter {step}: loss {loss:.4f}, time {250.0 + step / 7:.2f}ms, mfu 41.20%")
    write("nanogpt.txt", "\n".join(lines) + "\n")


def modded() -> None:
    code = """import os
import sys
with open(sys.argv[0]) as f:
    code = f.read() # read the code of this file ASAP, for logging
# step:125/1530 is how a line will look
print0(f"step:{step}/{train_steps} val_loss:{val_loss:.4f} train_time:{t:.0f}ms")
print0("step:0/10 val_loss: not yet")
"""
    lines = [
        *code.splitlines(),
        "=" * 100,
        "Running pytorch 2.6.0 compiled for CUDA 12.6",
        "=" * 100,
    ]
    steps = list(range(0, 61))
    for step, loss in zip(steps, losses(steps, 5, 0.05), strict=True):
        time = f"train_time:{step * 150}ms step_avg:{150 if step else float('nan'):.2f}ms"
        if step % 10 == 0:
            lines.append(f"step:{step}/60 val_loss:{loss:.4f} {time}")
        if step < 60:
            lines.append(f"step:{step + 1}/60 train_loss:{loss:.4f} {time}")
    lines.append("peak memory consumption: 39123 MiB")
    write("modded.txt", "\n".join(lines) + "\n")


def megatron() -> None:
    lines = [
        "using world size: 8, data-parallel size: 8",
        "> building train, validation datasets ...",
    ]
    steps = list(range(10, 610, 10))
    for step, loss in zip(steps, losses(steps, 6), strict=True):
        skipped = 10 if step == 10 else 0
        lm = "" if skipped else f" lm loss: {loss:.6E} |"
        lines.append(
            f" [2025-04-13 23:{step // 60:02d}:{step % 60:02d}] iteration {step:8d}/    1000 | "
            f"consumed samples: {step * 4:12d} | elapsed time per iteration (ms): 430.0 | "
            f"learning rate: {1e-4 * (1 - step / 1000):.3E} | global batch size:     4 |{lm} "
            f"loss scale: 16384.0 | grad norm: 2.918 | number of skipped iterations: {skipped:3d} "
            "| number of nan iterations:   0 |"
        )
        if step % 200 == 0:
            lines.append("-" * 80)
            lines.append(
                f" validation loss at iteration {step} | lm loss value: {loss + 0.1:.6E} | "
                f"lm loss PPL: {np.exp(loss):.6E} | "
            )
            lines.append("-" * 80)
    write("megatron.log", "\n".join(lines) + "\n")


def megatron_old() -> None:
    lines = []
    steps = list(range(100, 3100, 100))
    for step, loss in zip(steps, losses(steps, 7), strict=True):
        lines.append(
            f"[default7]: iteration {step:8d}/  320000 | consumed samples: {step * 2048:12d} | "
            f"consumed tokens: {step * 4194304:15d} | elapsed time per iteration (ms): 3021.5 | "
            f"learning rate 1.875E-06 | lm loss {loss:.6E} | loss scale 1.0 | "
        )
    write("megatron_old.log", "\n".join(lines) + "\n")


def neox_and_nemo() -> None:
    lines = []
    steps = list(range(10, 410, 10))
    for step, loss in zip(steps, losses(steps, 8), strict=True):
        lines.append(
            f"samples/sec: 42.825 | iteration {step:8d}/  320000 | elapsed time per iteration (ms)"
            f": 2989.3 | learning rate: 1.875E-06 | approx flops per GPU: 55.0TFLOPS | lm_loss: "
            f"{loss:.6E} | loss scale: 65536.0 | number of skipped iterations:   0 | number of nan "
            "iterations:   0 |"
        )
    write("neox.log", "\n".join(lines) + "\n")
    lines = []
    for step, loss in enumerate(losses(range(50), 9)):
        lines.append(
            f"Training epoch 0, iteration {step}/999 | lr: 1.499e-07 | global_batch_size: 512 | "
            f"global_step: {step} | reduced_train_loss: {loss:.4g} | train_step_timing in s: 5.1 | "
            f"consumed_samples: {512 * (step + 1)}"
        )
    write("nemo.log", "\n".join(lines) + "\n")


def trainer_state() -> None:
    history: list[dict[str, float]] = []
    steps = [1, *range(10, 310, 10)]
    values = losses(steps, 10)
    for step, loss in zip(steps, values, strict=True):
        epoch = round(step / 100, 2)
        entry = {
            "epoch": epoch,
            "grad_norm": 1.5,
            "learning_rate": 1e-4 * (1 - step / 1000),
            "loss": round(float(loss), 4),
            "step": step,
        }
        history.append(entry)
        if step % 100 == 0:
            for split in ("g0", "g1"):
                evaluated = {f"eval_{split}_loss": float(loss) + 0.123456, "epoch": epoch}
                history.append({**evaluated, f"eval_{split}_runtime": 3.1, "step": step})
    history[5]["loss"] = float("nan")
    history.append({"predict_loss": 3.2, "predict_runtime": 1.0})
    history.append({"epoch": 3.0, "step": 300, "total_flos": 1e15, "train_loss": 4.0321,
                    "train_runtime": 99.0})  # fmt: skip
    state = {
        "best_global_step": None,
        "best_metric": None,
        "epoch": 3.0,
        "eval_steps": 100,
        "global_step": 300,
        "is_world_process_zero": True,
        "log_history": history,
        "logging_steps": 10,
        "max_steps": 1000,
        "num_input_tokens_seen": 0,
        "num_train_epochs": 10,
        "stateful_callbacks": {"TrainerControl": {"args": {}, "attributes": {}}},
        "total_flos": 1e15,
        "trial_name": None,
    }
    write("trainer_state.json", json.dumps(state, indent=2, sort_keys=True) + "\n")


def table(name: str, header: list[str], rows: list[list[object]], quoted: bool = False) -> None:
    out = io.StringIO()
    quoting = csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL
    writer = csv.writer(out, quoting=quoting, lineterminator="\n")
    writer.writerows([header, *rows])
    write(name, out.getvalue())


def lightning() -> None:
    rows: list[list[object]] = []
    steps = list(range(9, 300, 10))
    values = losses(steps, 11)
    for step, loss in zip(steps, values, strict=True):
        rows.append(["", step, "", "", "", round(1e-3 * (1 - step / 400), 8)])
        rows.append([step // 100, step, f"{loss:.6f}", "", "", ""])
        if step % 100 == 99:
            rows.append([step // 100, step, "", "", f"{loss + 0.1:.6f}", ""])
            rows.append([step // 100, step, "", f"{values[: step // 10].mean():.6f}", "", ""])
    header = ["epoch", "step", "train_loss_step", "train_loss_epoch", "val_loss", "lr-AdamW"]
    table("metrics.csv", header, rows)


def wandb() -> None:
    steps = list(range(0, 500, 20))
    names = ["small - v2", "large"]
    columns = [f"{name} - train/loss{end}" for name in names for end in ("", "__MIN", "__MAX")]
    rows: list[list[object]] = []
    both = [losses(steps, 12), losses(steps, 13) - 0.3]
    for k, step in enumerate(steps):
        row: list[object] = [step]
        for i, values in enumerate(both):
            there = i == 0 or step % 40 == 0
            row += [repr(float(values[k])) if there else ""] * 3
        rows.append(row)
    table("wandb_chart.csv", ["Step", *columns], rows, quoted=True)
    # Against relative time, grouped: means over runs, with their least and greatest.
    columns = ["Relative Time (Process)"]
    for name in ("Group: a", "Group: b"):
        for metric in ("_step", "eval/loss"):
            columns += [f"{name} - {metric}{end}" for end in ("", "__MIN", "__MAX")]
    rows = []
    for k, step in enumerate(steps):
        row = [12.5 * k]
        for values in both:
            row += [step, step, step, values[k], values[k] - 0.01, values[k] + 0.02]
        rows.append(row)
    table("wandb_grouped.csv", columns, rows, quoted=True)
    rows = []
    for k, step in enumerate(range(500)):
        loss = losses([step], step)[0]
        rows.append([step, 3.5 * k, 1.7e9 + 3.5 * k, f"{loss:.7f}" if k % 2 == 0 else "",
                     f"{loss:.7f}" if k % 50 == 1 else "", 1e-3])  # fmt: skip
    header = ["_step", "_runtime", "_timestamp", "train/loss", "val/loss", "train/lr"]
    table("wandb_history.csv", header, rows)
    rows = [[f"run{k}", "finished", 3600 + k, 2.9 - k / 10] for k in range(5)]
    table("wandb_runs.csv", ["Name", "State", "Runtime", "train/loss"], rows, quoted=True)


def tensorboard_csv() -> None:
    steps = list(range(0, 800, 20))
    rows = [
        [1.7e9 + step, step, f"{loss:.7f}"]
        for step, loss in zip(steps, losses(steps, 14), strict=True)
    ]
    table("run-exp1-tag-loss_train.csv", ["Wall time", "Step", "Value"], rows)
    table("run-exp1-tag-loss_val.csv", ["Wall time", "Step", "Value"], rows[::5])


def jsonl() -> None:
    lines = []
    for step, loss in enumerate(losses(range(1, 41), 15), start=1):
        lines.append(json.dumps({"step": step, "loss": round(float(loss), 6), "lr": 1e-3}))
        if step % 10 == 0:
            lines.append(json.dumps({"step": step, "val_loss": round(float(loss) + 0.1, 6)}))
    write("train.jsonl", "\n".join(lines) + "\n")


if __name__ == "__main__":
    FILES.mkdir(exist_ok=True)
    for make in (llmc, llmc_python, nanogpt, modded, megatron, megatron_old, neox_and_nemo,
                 trainer_state, lightning, wandb, tensorboard_csv, jsonl):  # fmt: skip
        make()
