# ruff: noqa: E501, RUF001 (lines as tools print them)
"""Logs of a made-up run in the layouts of public tools: what each prints, and what is to be read.

Written from the tools' documentation, source and issue threads; numbers are made up.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Points:
    """A run: steps, losses with four decimals, rates, validation losses at every fifth step."""

    step: np.ndarray
    loss: np.ndarray
    lr: np.ndarray

    @classmethod
    def made(cls, n: int = 40, stride: int = 10, seed: int = 0, start: int = 1) -> Points:
        rng = np.random.default_rng(seed)
        step = np.arange(start, n + start) * stride
        loss = 2.5 + 4 * (1 + step / stride / 4) ** -0.5 + rng.normal(0, 0.01, n)
        return cls(step, loss.round(4), np.linspace(3e-4, 3e-5, n).round(8))

    @property
    def val(self) -> np.ndarray:
        return (self.loss[4::5] + 0.05).round(4)

    def __iter__(self):
        return iter(zip(self.step.tolist(), self.loss.tolist(), self.lr.tolist(), strict=True))


@dataclass(frozen=True)
class Layout:
    """How a tool writes a run.

    Attributes
    ----------
    text : callable
        From points to the log.
    name : str
        File name.
    axis : str
        The axis along which it is read.
    x : callable
        From points to the values of that axis.
    lr, val : bool
        Whether the rate, and validation losses at every fifth step, are in the log.
    planned : float or None
    options : dict
        For `lossfit.load`.
    flags : tuple of str
        Flags that there must be.
    """

    text: Callable[[Points], str]
    name: str = "train.log"
    axis: str = "step"
    x: Callable[[Points], np.ndarray] = field(default=lambda p: p.step)
    lr: bool = False
    val: bool = False
    planned: float | None = None
    options: dict = field(default_factory=dict)
    flags: tuple[str, ...] = ()


def lines(of: Callable, after: Callable | None = None, head: str = "") -> Callable[[Points], str]:
    """A line for each point; after every fifth one with a validation loss."""

    def text(points: Points) -> str:
        out = [head] if head else []
        for i, (step, loss, lr) in enumerate(points):
            out.append(of(step, loss, lr))
            if after is not None and i % 5 == 4:
                out.append(after(step, round(loss + 0.05, 4)))
        return "\n".join(out) + "\n"

    return text


def hf_stdout(points: Points) -> str:
    out = ["***** Running training *****\n  Num examples = 16,000\n"]
    for i, (step, loss, lr) in enumerate(points):
        bar = f"\r {step // 8}%|##   | {step}/800 [00:0{i % 10}<10:11,  1.40it/s]"
        out.append(f"\r  1%|     | {step - 1}/800 [00:01<10:11]{bar}\r{' ' * 50}\r")
        row = {"loss": loss, "grad_norm": 0.9, "learning_rate": lr, "epoch": round(step / 200, 2)}
        out.append(f"{row}\n{bar}")
        if i % 5 == 4:
            out.append("\r  0%|   | 0/7 [00:00<?]\r 99%|## | 7/7 [00:01<00:00]\n")
            out.append(f"{{'eval_loss': {loss + 0.05:.4f}, 'epoch': {step / 200:.2f}}}\n{bar}")
    out.append("{'train_runtime': 12.3, 'train_loss': 3.1415, 'epoch': 2.0}\n")
    return "".join(out)


def keras_bars(points: Points) -> str:
    out = []
    for i, (_, loss, _) in enumerate(points, start=1):
        out.append(f"Epoch {i}/50\n")
        for k in (1, 300, 937):
            out.append(f"\r {k}/938 ━━━━━━━━━━━━━━━━━━━━ 3s 2ms/step - loss: {loss + 1 / k:.4f}")
        out.append(
            f"\r938/938 ━━━━━━━━━━━━━━━━━━━━ 3s 2ms/step - accuracy: 0.8 - loss: {loss:.4f}"
            f" - val_accuracy: 0.8 - val_loss: {loss + 0.05:.4f}\n"
        )
    return "".join(out)


def keras_quiet(points: Points) -> str:
    return "".join(
        f"Epoch {i}/50\n938/938 - 2s - loss: {loss:.4f} - accuracy: 0.81 - 2s/epoch\n"
        for i, (_, loss, _) in enumerate(points, start=1)
    )


def fairseq(points: Points) -> str:
    out = []
    stamp = "2021-05-01 10:{:02d}:00 | INFO | "
    for i, (step, loss, lr) in enumerate(points):
        at = stamp.format(i)
        out.append(
            f"{at}train_inner | epoch {1 + i // 20:03d}:    {step % 200} / 200 loss={loss:.4f}, "
            f"nll_loss={loss - 1:.3f}, ppl=99.1, wps=1234.5, ups=0.5, wpb=2048, bsz=64, "
            f"num_updates={step}, lr={lr}, gnorm=1.5, clip=0, train_wall=10, wall=20"
        )
        if i % 5 == 4:
            out.append(
                f"{at}valid | epoch 001 | valid on 'valid' subset | loss {loss + 0.05:.4f} | "
                f"nll_loss {loss - 1:.3f} | ppl 25 | wps 0 | num_updates {step} | best_loss 3.1"
            )
        if i % 20 == 19:
            out.append(f"{at}train | epoch 001 | loss 4.444 | nll_loss 3.1 | num_updates {step}")
    return "\n".join(out) + "\n"


def olmo(points: Points) -> str:
    out = ["2024-03-01 10:00:00.111\tnode-a:0\ttrain:97\tINFO\tConfiguration:"]
    for i, (step, loss, lr) in enumerate(points):
        out.append(
            f"2024-03-01 10:{i:02d}:00.111\tnode-a:0\tolmo.train:967\tINFO\t"
            f"[step={step}/800,epoch=0]\n    optim/total_grad_norm=0.9\n"
            f"    train/CrossEntropyLoss={loss:.4f}\n    train/Perplexity=486\n"
            f"    throughput/total_tokens={step * 524_288:,}\n"
            f"    optim/learning_rate_group0={lr}"
        )
    return "\n".join(out) + "\n"


def composer(points: Points) -> str:
    out = []
    for step, loss, lr in points:
        out.append(
            f"[batch={step}/800]:\n\t Train epoch: 0\n\t Train trainer/global_step: {step}\n"
            f"\t Train trainer/batch_idx: {step}\n\t Train loss/train/total: {loss:.4f}\n"
            f"\t Train metrics/train/LanguageCrossEntropy: {loss:.4f}\n"
            f"\t Train lr-DecoupledAdamW/group0: {lr}"
        )
    return "\n".join(out) + "\n"


def pytorch_basics(points: Points) -> str:
    out = []
    for i, (_, loss, _) in enumerate(points):
        if i % 10 == 0:
            out.append(f"Epoch {i // 10 + 1}\n-------------------------------")
        out.append(f"loss: {loss:>7f}  [{(i % 10 + 1) * 6400:>5d}/64000]")
    return "\n".join(out) + "\nDone!\n"


def transfer(points: Points) -> str:
    return "".join(
        f"Epoch {i}/39\n----------\ntrain Loss: {loss:.4f} Acc: 0.5\n"
        f"val Loss: {loss + 0.05:.4f} Acc: 0.6\n\n"
        for i, (_, loss, _) in enumerate(points)
    )


def per_epoch(form: str, n: int = 10, total: int = 1200, base: int = 1) -> Callable:
    """Points with epoch and the batch in it, n points an epoch."""

    def text(points: Points) -> str:
        return "".join(
            form.format(
                epoch=i // n + base, batch=(i % n + 1) * total // n, total=total, loss=loss, lr=lr
            )
            + "\n"
            for i, (_, loss, lr) in enumerate(points)
        )

    return text


def spacy(points: Points) -> str:
    head = (
        "ℹ Pipeline: ['tok2vec', 'ner']\nE    #       LOSS NER  ENTS_F  ENTS_P  SCORE \n"
        "---  ------  --------  ------  ------  ------\n"
    )
    rows = [f"{s // 200:3d}  {s:6d}  {x:8.4f}   83.16   84.09    0.83" for s, x, _ in points]
    return head + "\n".join(rows) + "\n✔ Saved pipeline to output directory\n"


def fastai(points: Points) -> str:
    rows = [f"{i:<9d} {x:.4f}      {x + 0.05:.4f}      0.5      00:12"
            for i, (_, x, _) in enumerate(points)]  # fmt: skip
    return "epoch     train_loss  valid_loss  accuracy  time\n" + "\n".join(rows) + "\n"


def notebook(points: Points) -> str:
    rows = [f"| {s} | {x:.4f} | {x + 0.05:.4f} |" for s, x, _ in points]
    return "| Step | Training Loss | Validation Loss |\n|---|---|---|\n" + "\n".join(rows) + "\n"


def json_of(make: Callable[[Points], object], indent: int | None = None) -> Callable:
    return lambda points: json.dumps(make(points), indent=indent)


def json_lines(make: Callable, after: Callable | None = None, head: dict | None = None) -> Callable:
    first = json.dumps(head) if head else ""
    later = None if after is None else (lambda step, loss: json.dumps(after(step, loss)))
    return lines(lambda s, x, r: json.dumps(make(s, x, r)), later, first)


def sacred(points: Points) -> object:
    val = points.step[4::5].tolist()
    return {
        "train.loss": {
            "steps": points.step.tolist(),
            "timestamps": ["2024-03-01T10:00:00"] * len(points.step),
            "values": points.loss.tolist(),
        },
        "val.loss": {"steps": val, "timestamps": [""] * len(val), "values": points.val.tolist()},
    }


INDEX = dict(axis="record", x=lambda p: np.arange(1, len(p.step) + 1), flags=("record_axis",))
EPOCH1 = dict(axis="epoch", x=lambda p: np.arange(1, len(p.step) + 1), flags=("epoch_axis",))
EPOCHS = dict(x=lambda p: np.arange(1, len(p.step) + 1) * 120)
TIME = "2024-03-01 10:00:00,123"

LAYOUTS: dict[str, Layout] = {
    "Hugging Face stdout": Layout(hf_stdout, lr=True, val=True, planned=800),
    "Hugging Face JSON in stdout": Layout(
        json_lines(lambda s, x, r: {"loss": x, "learning_rate": r, "epoch": s / 200, "step": s}),
        lr=True,
    ),
    "LLaMA-Factory": Layout(
        json_lines(lambda s, x, r: {"current_steps": s, "total_steps": 800, "loss": x, "lr": r,
            "epoch": s / 200, "percentage": s / 8, "elapsed_time": f"0:{s // 60:02d}:{s % 60:02d}",
            "remaining_time": "1:20:01"}),
        "trainer_log.jsonl", lr=True,
    ),
    "build-nanogpt console": Layout(
        lines(lambda s, x, r: f"step {s:5d} | loss: {x:.6f} | lr {r:.4e} | norm: 0.4000 | "
              "dt: 812.30ms | tok/sec: 163000.00", lambda s, x: f"validation loss: {x:.4f}"),
        lr=True, val=True,
    ),
    "build-nanogpt log.txt": Layout(
        lines(lambda s, x, r: f"{s} train {x:.6f}", lambda s, x: f"{s} val {x:.4f}\n{s} hella 0.25"),
        "log.txt", val=True,
    ),
    "nanochat": Layout(
        lines(lambda s, x, r: f"step {s:05d}/00800 ({s / 8:.2f}%) | loss: {x:.6f} | lrm: 1.00 | "
              f"dt: 997.40ms | tok/sec: 1,051,300 | mfu: 63.45 | total time: {s / 60:.2f}m",
              lambda s, x: f"Step {s:05d} | Validation bpb: {x:.4f}"),
        val=True, planned=800,
    ),
    "diffusers": Layout(
        lines(lambda s, x, r: f"\rSteps:  {s / 8:.0f}%|#   | {s}/800 [00:10<10:00,  1.2it/s, "
              f"lr={r:.4g}, step_loss={x}]"),
        lr=True, planned=800,
    ),
    "OLMo": Layout(olmo, lr=True, planned=800),
    "torchtitan": Layout(
        lines(lambda s, x, r: f"\x1b[32m[rank0]:\x1b[0m[titan] {TIME} - root - INFO - \x1b[31mstep: "
              f"{s:2d}  \x1b[32mloss: {x:7.4f}  \x1b[33mmemory: 41.20GiB(51.5%)  tps: 7,100"),
    ),
    "torchtune": Layout(
        lines(lambda s, x, r: f"Step {s} | loss:{x} lr:{r} tokens_per_second_per_gpu:1234.5"), lr=True,
    ),
    "litgpt": Layout(
        lines(lambda s, x, r: f"Epoch {1 + s // 200} | iter {s} step {s} | loss train: {x:.4f}, "
              f"val: n/a | iter time: 529.46 ms (step) remaining time: 0:10:00"),
    ),
    "litgpt, older": Layout(
        lines(lambda s, x, r: f"iter {s} | step {s // 8}: loss {x:.4f}, iter time: 263.85 ms",
              lambda s, x: f"iter {s}: val loss {x:.4f}, val time: 3778.02 ms"), val=True,
    ),
    "llama.cpp": Layout(
        lines(lambda s, x, r: f"train_opt_callback: iter={s:6d} sample=1/5 sched={r} "
              f"loss={x:.6f} dt=00:01:10 eta=00:30:00 |->"), lr=True,
    ),
    "fairseq": Layout(fairseq, lr=True, val=True),
    "fairseq JSON": Layout(
        lines(lambda s, x, r: "2021-05-01 10:00:00 | INFO | train_inner | " + json.dumps(
            {"epoch": 1, "update": s / 200, "loss": str(x), "num_updates": str(s), "lr": str(r)})),
        lr=True,
    ),
    "MMEngine, by epoch": Layout(
        per_epoch("04/21 21:03:53 - mmengine - INFO - Epoch(train)  [{epoch}][{batch:4d}/{total}]  "
                  "lr: {lr:.6e}  eta: 0:00:25  time: 0.010  memory: 0  loss: {loss}  "
                  "loss_cls: 0.5  loss_bbox: 0.4"),
        **EPOCHS, lr=True,
    ),
    "MMEngine, by iteration": Layout(
        lines(lambda s, x, r: f"2022/04/21 21:03:53 - mmengine - INFO - Iter(train) [{s:5d}/800]  "
              f"lr: {r:.4e}  eta: 1 day, 3:00:25  time: 0.01  loss: {x}  decode.loss_ce: 0.5"),
        lr=True, planned=800,
    ),
    "MMDetection": Layout(
        per_epoch("2020-05-21 04:01:25,697 - mmdet - INFO - Epoch [{epoch}][{batch}/{total}]\tlr: "
                  "{lr}, eta: 1 day, 15:31:52, time: 1.6, data_time: 0.1, loss_cls: 0.9, loss: {loss}"),
        **EPOCHS, lr=True,
    ),
    "MMDetection JSON": Layout(
        json_lines(lambda s, x, r: {"mode": "train", "epoch": 1, "iter": s, "lr": r, "loss": x,
                                    "loss_cls": 0.4},
                   lambda s, x: {"mode": "val", "epoch": 1, "iter": s, "loss": x, "bbox_mAP": 0.3},
                   {"env_info": "sys.platform: linux", "seed": 3}),
        "20200521.log.json", lr=True, val=True,
    ),
    "MMEngine scalars": Layout(
        json_lines(lambda s, x, r: {"lr": r, "data_time": 0.1, "loss": x, "epoch": 1, "iter": s,
                                    "step": s}), "scalars.json", lr=True),
    "Composer": Layout(composer, lr=True),
    "MaxText": Layout(
        lines(lambda s, x, r: f"I0811 21:54:55.531340 138304841739136 metric_logger.py:226] completed "
              f"step: {s}, seconds: 0.631, TFLOP/s/device: 134.9, Tokens/s/device: 8672.758, "
              f"total_weights: 196608, loss: {x:.4f}, lm_loss: {x:.4f}, perplexity: 99.1"),
    ),
    "MLX": Layout(
        lines(lambda s, x, r: f"Iter {s}: Train loss {x:.4f}, Learning Rate {r:.6e}, It/sec 1.022, "
              f"Tokens/sec 88.083, Trained Tokens {s * 86}, Peak mem 9.7 GB",
              lambda s, x: f"Iter {s}: Val loss {x:.4f}, Val took 0.732s"), lr=True, val=True,
    ),
    "PyTorch: Epoch [1/5], Step [50/1200]": Layout(
        per_epoch("Epoch [{epoch}/5], Step [{batch}/{total}], Loss: {loss:.4f}"), **EPOCHS,
        planned=6000,
    ),
    "PyTorch basics": Layout(pytorch_basics, x=lambda p: np.arange(1, len(p.step) + 1) * 6400),
    "PyTorch CIFAR10": Layout(
        per_epoch("[{epoch}, {batch:5d}] loss: {loss:.4f}", base=1), **EPOCHS, flags=("counter",),
    ),
    "PyTorch MNIST": Layout(
        per_epoch("Train Epoch: {epoch} [{batch}/{total} (8%)]\tLoss: {loss:.6f}"), **EPOCHS,
    ),
    "PyTorch ImageNet": Layout(
        per_epoch("Epoch: [{epoch}][{batch:5d}/{total}]\tTime  0.432 ( 1.654)\tData  0.000 ( 1.0)\t"
                  "Loss {loss:.4e} (7.0500e+00)\tAcc@1   0.00 (  0.10)", base=0), **EPOCHS,
    ),
    "PyTorch language model": Layout(
        per_epoch("| epoch {epoch:3d} | {batch:5d}/{total:5d} batches | lr 5.00 | ms/batch 12.3 | "
                  "loss {loss:7.4f} | ppl  1355.2"), **EPOCHS,
    ),
    "PyTorch transfer learning": Layout(transfer, **EPOCH1, options={}),
    "DETR console": Layout(
        per_epoch("Epoch: [{epoch}]  [{batch:4d}/{total}]  eta: 0:10:00  lr: {lr}  class_error: 100.0"
                  "  loss: {loss:.4f} (44.2134)  loss_ce: 4.7 (4.7)  time: 0.6  data: 0.1", base=0),
        **EPOCHS, lr=True,
    ),
    "DETR log.txt": Layout(
        lambda p: "".join(json.dumps({"train_lr": r, "train_loss": x, "train_loss_ce": 0.4,
                "train_loss_bbox_0": 0.1, "test_loss": round(x + 0.05, 4), "test_loss_ce": 0.3,
                "epoch": i, "n_parameters": 41302368}) + "\n"
            for i, (s, x, r) in enumerate(p)),
        "log.txt", **EPOCH1, lr=True,
    ),
    "detectron2 console": Layout(
        lines(lambda s, x, r: f"[04/05 01:30:24 d2.utils.events]:  eta: 0:03:35  iter: {s}  "
              f"total_loss: {x}  loss_cls: 0.65  loss_box_reg: 0.58  time: 0.36  lr: {r}  "
              "max_mem: 433M"), lr=True,
    ),
    "detectron2 metrics.json": Layout(
        json_lines(lambda s, x, r: {"data_time": 0.1, "iteration": s, "loss_cls": 0.6, "lr": r,
                                    "total_loss": x}), "metrics.json", lr=True),
    "maskrcnn-benchmark": Layout(
        lines(lambda s, x, r: f"2019-05-27 10:48:54,461 maskrcnn_benchmark.trainer INFO: eta: 0:17:37"
              f"  iter: {s}  loss: {x} (0.9191)  loss_mask: 0.26 (0.32)  lr: {r}  max mem: 4358"),
        lr=True,
    ),
    "Keras bars": Layout(keras_bars, **EPOCH1),
    "Keras, one line an epoch": Layout(keras_quiet, **EPOCH1),
    "Keras CSVLogger": Layout(
        lambda p: "epoch,accuracy,learning_rate,loss,val_accuracy,val_loss\n" + "".join(
            f"{i},0.5,{r},{x},0.5,{x + 0.05:.4f}\n" for i, (s, x, r) in enumerate(p)),
        "training.csv", **EPOCH1, lr=True,
    ),
    "Keras history": Layout(
        json_of(lambda p: {"loss": p.loss.tolist(), "accuracy": [0.5] * len(p.loss),
                           "val_loss": (p.loss + 0.05).tolist()}), "history.json", **INDEX),
    "Lightning bar": Layout(
        per_epoch("Epoch {epoch}:  39%|████  | {batch}/{total} [05:59<09:15, 13.47it/s, loss={loss}, "
                  "v_num=1]", base=0), **EPOCHS,
    ),
    "YOLO results.csv, one loss chosen": Layout(
        lambda p: "                  epoch,         train/box_loss,         train/cls_loss,  lr/pg0\n"
        + "".join(f"{i:23d},{x:23.4f},{x / 2:23.4f},{r:23}\n" for i, (s, x, r) in enumerate(p, 1)),
        "results.csv", **EPOCH1, options={"loss": "train/box_loss"}, lr=True,
    ),
    "XGBoost": Layout(
        lines(lambda s, x, r: f"[{s}]\ttrain-logloss:{x:.5f}\teval-logloss:{x + 0.05:.5f}"),
    ),
    "LightGBM": Layout(
        lines(lambda s, x, r: f"[{s}]\ttraining's binary_logloss: {x}\tvalid_0's binary_logloss: 3.1"),
    ),
    "XGBoost evals_result": Layout(
        json_of(lambda p: {"train": {"rmse": p.loss.tolist()}, "eval": {"rmse": [9.0] * len(p.loss)}}),
        "evals.json", **INDEX),
    "spaCy": Layout(spacy, options={"loss": "LOSS NER"}),
    "fastai": Layout(fastai, "fastai.txt", **EPOCH1),
    "a notebook's table": Layout(notebook, "table.md"),
    "np.savetxt": Layout(
        lambda p: "# step loss lr\n" + "".join(f"{s:.18e} {x:.18e} {r:.18e}\n" for s, x, r in p),
        "loss.txt", lr=True),
    "MLflow metric file": Layout(
        lambda p: "".join(f"{1700000000000 + 1000 * s} {x} {s}\n" for s, x, r in p), "train_loss"),
    "Sacred metrics.json": Layout(json_of(sacred), "metrics.json", val=True),
    "TensorBoard page, JSON": Layout(
        json_of(lambda p: [[1.7e9 + s, s, x] for s, x, _ in p]), "run.json",
        options={"columns": {"loss": "value"}}),
    "tf.estimator": Layout(
        lines(lambda s, x, r: f"INFO:tensorflow:loss = {x}, step = {s} (0.512 sec)")),
    "DeepLearningExamples": Layout(
        lines(lambda s, x, r: f"DLL 2022-04-05 05:10:36.324733 - Training Epoch: 0 Training Iteration: "
              f"{s}  step_loss : {x}  learning_rate : {r}"), lr=True),
    "a tensor printed": Layout(
        lines(lambda s, x, r: f"step {s} loss tensor({x}, device='cuda:0', grad_fn=<NllLossBackward0>)")),
    "numbers with units": Layout(
        lines(lambda s, x, r: f"step: {s / 1000}k, tokens: {s * 2}M, loss={x}, lr={r}"), lr=True),
    "absl": Layout(lines(lambda s, x, r: f"I0301 10:00:00.123456 140123 train.py:10] [{s}] "
                         f"loss={x}, steps/sec=3.1")),
    "flax CLU": Layout(
        lines(lambda s, x, r: f"I0301 10:00:00.123456 140123 logging_writer.py:48] [{s}] "
              f"learning_rate={r}, loss={x}"), lr=True),
    "a dict a line": Layout(
        lines(lambda s, x, r: str({"step": s, "train/loss": x, "lr": r})), lr=True),
    "JSON objects over several lines": Layout(
        lambda p: "".join(json.dumps({"step": s, "loss": x}, indent=2) + "\n" for s, x, _ in p),
        "log.json"),
    "JSON by step": Layout(
        json_of(lambda p: {str(s): {"loss": x} for s, x, _ in p}), "log.json"),
    "rows under a key": Layout(
        json_of(lambda p: {"config": {"lr": 1}, "log": [{"step": s, "loss": x} for s, x, _ in p]}),
        "log.json"),
}  # fmt: skip
