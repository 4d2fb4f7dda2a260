# ruff: noqa: E501 (lines as tools print them)
"""More layouts, of the kinds of `layouts`: other tools, other words for held-out lines, envelopes."""

from __future__ import annotations

import json

import numpy as np

from .layouts import EPOCH1, INDEX, LAYOUTS, Layout, json_of, lines


def clock(step: int) -> str:
    return f"{10 + step // 3600:02d}:{step // 60 % 60:02d}:{step % 60:02d}"


def iso(step: int, between: str = " ") -> str:
    return f"2025-03-01{between}{clock(step)}"


# How a line says that it is about held-out data; training lines are "step 10 loss 2.5 lr 0.001".
HELD_OUT = {
    "Validation:": "Validation: loss {x}",
    "[Eval]": "[Eval] step {s} loss={x}",
    "--- eval ---": "--- eval --- loss: {x}",
    "(val)": "(val) step {s}: loss {x}",
    "Evaluating...": "Evaluating... loss={x}",
    "eval: behind": "step {s} eval: loss {x}",
    "* Val:": " * Val: loss {x} ppl 12.1",
    "Eval results at step": "Eval results at step {s}: loss={x}, acc=0.5",
    "eval |": "eval | step {s} | loss {x}",
    "Test set:": "Test set: Average loss: {x}, Accuracy: 9000/10000 (90%)",
    "val: before": "val: step={s} loss={x}",
    "Validating": "Validating | step {s} | loss: {x}",
    "[Validating]": "[Validating] step {s} loss: {x}",
    "Evaluation -": "Evaluation - step {s} - loss: {x}",
    "Testing |": "Testing | step {s} | loss: {x}",
    "dev loss": "step {s} dev loss {x}",
    "holdout_loss": "step {s} holdout_loss {x}",
    "Validation set loss at step": "Validation set loss at step {s}: {x}",
    "[EVALUATION]": "[EVALUATION] step: {s} | loss: {x}",
    "eval_step": "eval_step {s} loss {x}",
    "phase=val": "phase=val step={s} loss={x}",
    "split: valid": "split: valid, step: {s}, loss: {x}",
    "val - step": "val - step {s} - loss {x}",
    "a heading": "Running validation...\nloss: {x}\n",
}


def joined(of, points) -> str:
    return "".join(of(i, s, x, r) for i, (s, x, r) in enumerate(points))


def rows_of(points, val: bool = True):
    """Rows of training and validation losses in turn."""
    for i, (s, x, r) in enumerate(points):
        yield "train", s, x, r
        if val and i % 5 == 4:
            yield "val", s, round(x + 0.05, 4), r


def json_rows(make) -> object:
    return lambda points: "".join(json.dumps(make(*row)) + "\n" for row in rows_of(points))


def json_lines_of(make) -> object:
    return lambda points: joined(lambda i, s, x, r: json.dumps(make(s, x, r)) + "\n", points)


def in_epochs(form: str, n: int = 8, total: int = 80, base: int = 0) -> dict:
    """Points with the epoch and the batch in it, and the steps that they are."""

    def text(points) -> str:
        return joined(
            lambda i, s, x, r: (
                form.format(
                    e=i // n + base,
                    e1=i // n + 1,
                    b=(i % n + 1) * total // n,
                    total=total,
                    x=x,
                    r=r,
                    s=s,
                )
                + "\n"
            ),
            points,
        )

    return dict(text=text, x=lambda p: np.arange(1, len(p.step) + 1) * total // n)


def of_epochs(form: str) -> dict:
    """A line, or lines, an epoch."""
    return dict(
        text=lambda points: joined(
            lambda i, s, x, r: form.format(i=i + 1, x=x, v=x + 0.05, r=r), points
        ),
        **EPOCH1,
    )


def table(head: str, row: str) -> object:
    return lambda points: (
        head
        + "\n"
        + joined(lambda i, s, x, r: row.format(i=i + 1, s=s, x=x, v=x + 0.05, r=r) + "\n", points)
    )


MORE: dict[str, Layout] = {
    "swift console": Layout(
        lines(lambda s, x, r: str({'loss':x,'token_acc':.7,'grad_norm':2.,'learning_rate':r,'memory(GiB)':20.1,'train_speed(iter/s)':.5,'epoch':s/200,'global_step/max_steps':f'{s}/800','percentage':'1.00%','elapsed_time':'20s','remaining_time':'33m 0s'}),
              lambda s, x: str({'eval_loss':x,'eval_token_acc':.7,'eval_runtime':12.,'epoch':s/200,'global_step/max_steps':f'{s}/800','percentage':'1.00%','elapsed_time':'20s'})), lr=True, val=True, planned=800,
    ),
    "llm.c console": Layout(
        lines(lambda s, x, r: f"step {s:4d}/800 | loss {x:.6f} (+0.12z)| norm 0.7212 (-0.50z)| lr {r:.4e} | 249.68 ms | 45.1% bf16 MFU | 419000 tok/s",
              lambda s, x: f"val loss {x:.6f}"), val=True, lr=True, planned=800,
    ),
    "llm.c nanz": Layout(
        lines(lambda s, x, r: f"step {s:4d}/800 | loss {x:.6f} (+nanz)| norm 15.3 (+nanz)| lr {r:.4e} | 1249.68 ms | -100.0% bf16 MFU | 419000 tok/s"), lr=True, planned=800,
    ),
    "llama2.c": Layout(
        lines(lambda s, x, r: f"{s} | loss {x:.4f} | lr {r:e} | 312.21ms | mfu 12.21%",
              lambda s, x: f"step {s}: train loss 3.1234, val loss {x:.4f}"), lr=True,
    ),
    "minGPT": Layout(
        lines(lambda s, x, r: f"iter_dt 50.12ms; iter {s}: train loss {x:.5f}"),
    ),
    "makemore": Layout(
        lines(lambda s, x, r: f"step {s} | loss {x:.4f} | step time 10.21ms",
              lambda s, x: f"step {s} train loss: 3.1 test loss: {x:.4f}"), val=True,
    ),
    "micrograd": Layout(
        lines(lambda s, x, r: f"step {s} loss {x}, accuracy {50+s%50}.0%"),
    ),
    "char-rnn": Layout(
        lines(lambda s, x, r: f"{s}/800 (epoch {s/200:.3f}), train_loss = {x:.8f}, grad/param norm = 5.1e-02, time/batch = 0.52s"), planned=800,
    ),
    "gpt-2 nshepperd": Layout(
        lines(lambda s, x, r: f"[{s} | {s*1.27:.2f}] loss={x:.4f} avg={x+.1:.2f}"),
    ),
    "nanochat base": Layout(
        lines(lambda s, x, r: f"step {s:05d}/00800 ({s/8:.2f}%) | loss: {x:.6f} | grad norm: 0.8123 | lrm: 1.00 | dt: 512.31ms | tok/sec: 1,023,410 | mfu: 45.12 | epoch: 1 | total time: {s/60:.2f}m | eta: 10.1m",
              lambda s, x: f"Step {s:05d} | Validation bpb: {x/3:.6f}"), planned=800, flags=("moving_average",),
    ),
    "nanochat sft": Layout(
        lines(lambda s, x, r: f"Step {s:05d}/00800 | Training loss: {x:.6f}| lrm: 0.980000| num_tokens: 12,345",
              lambda s, x: f"Step {s:05d} | Validation loss: {x:.6f}"), planned=800, val=True,
    ),
    "nanochat mid": Layout(
        lines(lambda s, x, r: f"step {s:05d} ({s/8:.2f}%) | loss: {x:.6f} | lrm: 0.98 | dt: 512.31ms | tok/sec: 1,023,410 | mfu: 45.12 | total time: {s/60:.2f}m"), flags=("moving_average",),
    ),
    "modded train": Layout(
        lines(lambda s, x, r: f"step:{s}/800 train_loss:{x:.4f} train_time:{s*100}ms step_avg:100.10ms",
              lambda s, x: f"step:{s}/800 val_loss:{x:.4f} train_time:{s*100}ms step_avg:100.10ms"), val=True, planned=800,
    ),
    "torchtitan new": Layout(
        lines(lambda s, x, r: f"[rank0]:[titan] {iso(s)},123 - root - INFO - step: {s:2}  loss: {x:7.4f}  grad_norm:  1.2100  memory: 41.20GiB(51.50%)  tps: 7,100  tflops: 100.12  mfu: 30.21%",
              lambda s, x: f"[rank0]:[titan] {iso(s)},523 - root - INFO - validate step: {s:2}  loss: {x:7.4f}  memory: 41.20GiB(51.50%)  tps: 7,100"), val=True,
    ),
    "megatron new": Layout(
        lines(lambda s, x, r: f" [{iso(s)}] iteration {s:8d}/     800 | consumed samples: {s*256:12d} | elapsed time per iteration (ms): 512.3 | throughput per GPU (TFLOP/s/GPU): 101.2 | learning rate: {r:.6E} | global batch size:   256 | lm loss: {x:.6E} | loss scale: 1.0 | grad norm: 1.201 | number of skipped iterations:   0 | number of nan iterations:   0 |",
              lambda s, x: f"(min, max) time across ranks (ms):\n    evaluate .......: (1234.5, 1234.5)\n--------\n validation loss at iteration {s} | lm loss value: {x:.6E} | lm loss PPL: 2.4E+01 | \n---------"), val=True, lr=True, planned=800,
    ),
    "gpt-neox": Layout(
        lines(lambda s, x, r: f" samples/sec: 50.121 | iteration {s:8d}/     800 | elapsed time per iteration (ms): 1234.1 | learning rate: {r:.3E} | approx flops per GPU: 43.1TFLOPS | lm_loss: {x:.6E} | loss scale: 131072.0 | number of skipped iterations:   0 | number of nan iterations:   0 |"), lr=True, planned=800,
    ),
    "deepspeed-chat": Layout(
        lines(lambda s, x, r: f"Epoch: 0, Step: {s}, Rank: 0, loss = {x}"),
    ),
    "opennmt": Layout(
        lines(lambda s, x, r: f"[{iso(s)},123 INFO] Step {s}/800; acc:   4.99; ppl: 31244.33; xent: {x:.4f}; lr: {r:.9f}; 5034/4985 tok/s;     13 sec"), lr=True, planned=800,
    ),
    "marian": Layout(
        lines(lambda s, x, r: f"[{iso(s)}] Ep. 1 : Up. {s} : Sen. {s*512:,} : Cost {x:.8f} * 12,345 @ 1,234 after 1,234,567 : Time 45.10s : 12345.60 words/s : gNorm 1.2012 : L.r. {r:.4e}",
              lambda s, x: f"[{iso(s)}] [valid] Ep. 1 : Up. {s} : cross-entropy : {x} : new best"), lr=True,
    ),
    "sockeye": Layout(
        lines(lambda s, x, r: f"[{iso(s)}:INFO:sockeye.training:log] Epoch[0] Batch [{s}]\tSpeed: 1234.56 samples/sec 23456.78 tokens/sec 3.21 updates/sec\tcross-entropy={x}\tperplexity=12.1"),
    ),
    "maxtext eval": Layout(
        lines(lambda s, x, r: f"I0301 {clock(s)}.123456 138304841739136 max_utils.py:226] completed step: {s}, seconds: 0.631, TFLOP/s/device: 134.9, Tokens/s/device: 8672.758, total_weights: 196608, loss: {x:.4f}",
              lambda s, x: f"I0301 {clock(s)}.223456 138304841739136 train.py:312] eval metrics after step: {s}, loss={x}, total_weights=196608.0"), val=True,
    ),
    "mlx lm": Layout(
        lines(lambda s, x, r: f"Iter {s}: Train loss {x:.4f}, It/sec 5.121",
              lambda s, x: f"Iter {s}: Val loss {x:.4f}, Val ppl 12.123, Val took 0.512s"), val=True,
    ),
    "levanter": Layout(
        lines(lambda s, x, r: f"{iso(s,'T')} - 0 - levanter.tqdm_logging - tqdm_logging.py:72 - INFO :: Progress on:train {s}it/800it rate:1.2it/s remaining:13:00 elapsed:01:00 postfix:loss={x}"), planned=800,
    ),
    "paxml": Layout(
        lines(lambda s, x, r: f"I0301 {clock(s)}.123456 1401 trainer_lib.py:212] [PAX STATUS]: step_i: {s}, training loss: {x}"),
    ),
    "clu": Layout(
        lines(lambda s, x, r: f"I0301 {clock(s)}.123456 1401 logging_writer.py:48] [{s}] accuracy=0.031, learning_rate={r}, loss={x}, perplexity=99.1",
              lambda s, x: f"I0301 {clock(s)}.223456 1401 logging_writer.py:48] [{s}] eval_accuracy=0.031, eval_loss={x}"), lr=True, val=True,
    ),
    "sklearn mlp": Layout(
        lines(lambda s, x, r: f"Iteration {s}, loss = {x:.8f}"),
    ),
    "catboost json-like lightgbm": Layout(
        lines(lambda s, x, r: f"[LightGBM] [Info] Iteration:{s}, training binary_logloss : {x:.6f}"),
    ),
    "structlog console": Layout(
        lines(lambda s, x, r: f"{iso(s,'T')}.123456Z [info     ] train step                     loss={x} lr={r} step={s}"), lr=True,
    ),
    "logfmt": Layout(
        lines(lambda s, x, r: f'ts={iso(s,"T")}Z level=info msg="step done" step={s} loss={x} lr={r}'), lr=True,
    ),
    "tacotron2": Layout(
        lines(lambda s, x, r: f"Train loss {s} {x:.6f} Grad Norm 2.312345 1.21s/it",
              lambda s, x: f"Validation loss {s}: {x:9f}  "), val=True,
    ),
    "mindformers": Layout(
        lines(lambda s, x, r: f"{iso(s)},123 - mindformers[mindformers/core/callback/callback.py:314] - INFO - {{ Epoch:[  1/  2], step:[{s:5d}/  800], loss: {x:.4f}, per_step_time: 512ms, lr: {r:.6e}, overflow cond: False, loss_scale: 65536.0, global_norm: [1.2]"), lr=True,
    ),
    "internlm": Layout(
        lines(lambda s, x, r: f"{iso(s)},293\tINFO train.py:317 in record_current_batch_training_metrics -- tflops=63.27,step={s},loss={x},tgs (tokens/gpu/second)=8571.1,lr={r},loss_scale=65536.0,grad_norm={{'0_default': 1.2}},micro_num=4,num_consumed_tokens={s*131072},inf_nan_skip_batches=0,num_samples_in_batch=16,largest_length=2048"), lr=True,
    ),
    "verl sft": Layout(
        lines(lambda s, x, r: f"step:{s} - train/loss:{x:.4f} - train/lr(1e-3):{r*1e3:.6f} - train/grad_norm:1.2",
              lambda s, x: f"step:{s} - val/loss:{x}"), val=True,
    ),
    "tf estimator": Layout(
        lines(lambda s, x, r: f"INFO:tensorflow:loss = {x}, step = {s} (12.312 sec)\nINFO:tensorflow:global_step/sec: 1.21234"),
    ),
    "julia flux": Layout(
        lines(lambda s, x, r: f"[ Info: step = {s} loss = {x}f0"),
    ),
    "train phase words": Layout(
        lines(lambda s, x, r: f"phase=train step={s} loss={x}",
              lambda s, x: f"phase=val step={s} loss={x}"), val=True,
    ),
    "best so far": Layout(
        lines(lambda s, x, r: f"step {s} loss {x} (best 2.1)",
              lambda s, x: f"new best loss {x-1:.4f} at step {s}, saving"),
    ),
    "checkpoint lines": Layout(
        lines(lambda s, x, r: f"step {s} loss {x}",
              lambda s, x: f"saved checkpoint ckpt_{s}.pt (step {s}, loss {x-.05:.4f})"),
    ),
    "smooth console": Layout(
        lines(lambda s, x, r: f"step {s} smoothed loss {x} lr {r}"), lr=True, flags=("moving_average",),
    ),
    "validation heading": Layout(
        lines(lambda s, x, r: f"step {s} loss {x}",
              lambda s, x: f"Running validation...\nloss: {x}\n"), val=True,
    ),
    "eval table lines": Layout(
        lines(lambda s, x, r: f"| step {s} | train loss {x} | lr {r} |",
              lambda s, x: f"| step {s} | eval loss {x} | ppl 12.1 |"), lr=True, val=True,
    ),
    "key colon dict json-ish": Layout(
        lines(lambda s, x, r: f"metrics: {{step: {s}, loss: {x}, lr: {r}}}"), lr=True,
    ),
    "brackets kv": Layout(
        lines(lambda s, x, r: f"[step {s}] [loss {x}] [lr {r:.4e}]"), lr=True,
    ),
    "arrow loss": Layout(
        lines(lambda s, x, r: f"step {s} -> loss: {x}"),
    ),
    "tilde": Layout(
        lines(lambda s, x, r: f"iter {s} ~ loss = {x} ~ lr = {r}"), lr=True,
    ),
    "uppercase": Layout(
        lines(lambda s, x, r: f"STEP: {s} LOSS: {x} LR: {r}"), lr=True,
    ),
    "accelerate log": Layout(
        lines(lambda s, x, r: f"{iso(s)},123 - INFO - __main__ -   epoch 0: step {s}: loss {x} lr {r}"), lr=True,
    ),
    "lingua": Layout(
        lines(lambda s, x, r: f"0: INFO    {iso(s)[2:]}.123 [Rank 0] step: {s:6d}  acc: 0  loss: {x}  grad: 1.2e+00  flops: 3.1e+14  wps: 4.1e+04  iter: 0.51  data: 0.001  lr: {r:.4e}  mem: 50%  pow: 600 W"), lr=True,
    ),
    "nanotron": Layout(
        lines(lambda s, x, r: f"03/01/2025 {clock(s)} [INFO|DP=0|PP=0|TP=0|node]: iteration: {s} / 800 | consumed_tokens: {s*4096/1e3:.1f}K | elapsed_time_per_iteration_ms: 512 | tokens_per_sec: 8K | lm_loss: {x} | lr: {r:.4e} | model_tflops_per_gpu: 30.1 | grad_norm: 1.2"), lr=True,
    ),
    "tpu v pax": Layout(
        lines(lambda s, x, r: f"I0301 {clock(s)}.123456 1401 summary_utils.py:337] Metrics values at step {s}: loss={x}"),
    ),
    "praxis": Layout(
        lines(lambda s, x, r: f"I0301 {clock(s)}.123456 1401 summary_utils.py:372] summary tensor at step={s} loss {x}"),
    ),
    "rust log": Layout(
        lines(lambda s, x, r: f"[{iso(s,'T')}Z INFO  train] step={s} loss={x}"),
    ),
    "rust tracing": Layout(
        lines(lambda s, x, r: f"{iso(s,'T')}.123456Z  INFO train::trainer: step completed step={s} loss={x} lr={r}"), lr=True,
    ),
    "slurm array prefix": Layout(
        lines(lambda s, x, r: f"12: step {s} loss {x}"),
    ),
    "torchrun ts": Layout(
        lines(lambda s, x, r: f"[default0]:[{iso(s)},123] [INFO] [train.py:12] step {s} loss {x}"),
    ),
    "loss before step": Layout(
        lines(lambda s, x, r: f"loss={x} lr={r} step={s}"), lr=True,
    ),
    "loss at step": Layout(
        lines(lambda s, x, r: f"Loss at step {s}: {x}"),
    ),
    "training loss after": Layout(
        lines(lambda s, x, r: f"Training loss after {s} steps: {x}"),
    ),
    "after N steps": Layout(
        lines(lambda s, x, r: f"After {s} steps, loss = {x}"),
    ),
    "step Nk": Layout(
        lines(lambda s, x, r: f"Step {s/1000:.2f}k: loss {x}"),
    ),
    "iteration comma": Layout(
        lines(lambda s, x, r: f"Iteration {s}, Loss: {x}, Time: 0.51s"),
    ),
    "mb of": Layout(
        lines(lambda s, x, r: f"Minibatch loss at step {s}: {x}\nMinibatch accuracy: 10.1%\nValidation accuracy: 11.2%"),
    ),
    "cost after": Layout(
        lines(lambda s, x, r: f"Cost after iteration {s}: {x}"),
    ),
    "loss e notation": Layout(
        lines(lambda s, x, r: f"step={s} loss={x:.6e} lr={r:.4E}"), lr=True,
    ),
    **{
        f"held out: {words}": Layout(
            lines(lambda s, x, r: f"step {s} loss {x} lr {r}",
                  lambda s, x, form=form: form.format(s=s, x=x)), lr=True, val=True)
        for words, form in HELD_OUT.items()
    },
    "DeepSpeed, a line for the rate": Layout(
        lambda p: joined(lambda i, s, x, r: (
            f"[{iso(s)},123] [INFO] [logging.py:96:log_dist] [Rank 0] step={s}, skipped=0, lr=[{r}, {r}], "
            f"mom=[(0.9, 0.95), (0.9, 0.95)]\nsteps: {s} loss: {x:.4f} iter time (s): 0.512\n"), p), lr=True),
    "Caffe": Layout(
        lambda p: joined(lambda i, s, x, r: (
            f"I0301 {clock(s)}.123456 12345 solver.cpp:229] Iteration {s} (10.1 iter/s), loss = {x}\n"
            f"I0301 {clock(s)}.123456 12345 solver.cpp:245]     Train net output #0: loss = {x} (* 1 = {x} loss)\n"
            f"I0301 {clock(s)}.123456 12345 sgd_solver.cpp:106] Iteration {s}, lr = {r}\n"), p), lr=True),
    "a dict over several lines": Layout(
        lambda p: joined(lambda i, s, x, r: (
            f"{{'accuracy': 0.031,\n 'learning_rate': {r},\n 'loss': {x},\n 'step': {s}}}\n"), p), lr=True),
    "TensorFlow object detection": Layout(
        lambda p: joined(lambda i, s, x, r: (
            f"INFO:tensorflow:Step {s} per-step time 0.512s\nINFO:tensorflow:{{'Loss/classification_loss': 0.31,\n"
            f" 'Loss/regularization_loss': 0.15,\n 'Loss/total_loss': {x},\n 'learning_rate': {r}}}\n"), p), lr=True),
    "Stable-Baselines3 table": Layout(
        lambda p: joined(lambda i, s, x, r: (
            f"{'-' * 40}\n| rollout/                |             |\n|    ep_len_mean          | 25          |\n"
            f"| time/                   |             |\n|    iterations           | {i + 1}           |\n"
            f"|    total_timesteps      | {s}        |\n| train/                  |             |\n"
            f"|    learning_rate        | {r:.8f}     |\n|    loss                 | {x}         |\n"
            f"|    n_updates            | {i * 10}          |\n|    value_loss           | 55.2        |\n{'-' * 40}\n"),
            p), lr=True),
    "Coqui": Layout(
        lambda p: joined(lambda i, s, x, r: (
            f"\n\x1b[1m   --> STEP: {i % 8 * 25 + 24}/200 -- GLOBAL_STEP: {s}\x1b[0m\n     | > loss: {x}  (2.5123)\n"
            f"     | > current_lr: {r} \n     | > step_time: 0.5123  (0.51)\n"), p), lr=True),
    "ESPnet": Layout(
        lines(lambda s, x, r: f"[host] {iso(s)},123 (trainer:779) INFO: 1epoch:train:{s - 9}-{s}batch: iter_time=0.101, "
              f"loss_ctc=50.123, loss_att=40.234, acc=0.312, loss={x:.4f}, optim0_lr0={r:.3e}, train_time=0.512"), lr=True),
    "timm": Layout(**in_epochs(
        "Train: {e} [{b:4d}/{total} ( 12%)]  Loss: {x:.4f} (6.94)  Time: 0.312s,  3281.1/s  LR: {r:.3e}"), lr=True),
    "open_clip": Layout(**in_epochs(
        "2025-03-01,10:00:00 | INFO | Train Epoch: {e} [{b:7d}/{total} (10%)] Data (t): 0.101 Batch (t): 0.512, "
        "8000.12/s, 1000.1/s/gpu LR: {r:.8f} Logit Scale: 14.286 Contrastive_loss: 9.1 (8.3) Loss: {x:.4f} (8.3)"), lr=True),
    "MXNet": Layout(**in_epochs("INFO:root:Epoch[{e}] Batch [{b}]\tSpeed: 1234.56 samples/sec\tcross-entropy={x}"),
                    flags=("counter",)),
    "Flair": Layout(**in_epochs("{s} epoch {e1} - iter {b}/{total} - loss {x:.8f} - time (sec): 1.20 - lr: {r:.8f}"),
                    lr=True),
    "PaddleClas": Layout(**in_epochs(
        "[2025/03/01 10:00:00] ppcls INFO: [Train][Epoch {e1}/6][Iter: {b}/{total}]lr(LinearWarmup): {r:.8f}, "
        "CELoss: 9.1, loss: {x:.5f}, batch_cost: 0.512s"), lr=True),
    "Flax MNIST": Layout(**of_epochs(
        "I0301 10:00:00.123456 1401 train.py:150] epoch: {i}, train_loss: {x:.4f}, train_accuracy: 93.05, "
        "test_loss: {v:.4f}, test_accuracy: 95.01\n")),
    "CNTK": Layout(**of_epochs(" Finished Epoch[{i} of 48]: [Training] loss = {x} * 60000, metric = 10.12% * 60000\n")),
    "an epoch in words": Layout(**of_epochs(
        "Epoch: {i:02d} | Epoch Time: 0m 12s\n\tTrain Loss: {x:.4f} | Train PPL: 99.1\n\t Val. Loss: {v:.4f}\n")),
    "PyTorch basics with a test": Layout(
        lambda p: joined(lambda i, s, x, r: (
            f"loss: {x:>7f}  [{(i % 5 + 1) * 640:>5d}/ 3200]\n"
            + ("Test Error: \n Accuracy: 44.5%, Avg loss: 9.151234 \n\n" if i % 5 == 4 else "")), p),
        x=lambda p: np.arange(1, len(p.step) + 1) * 640),
    "levanter, thousands": Layout(
        lines(lambda s, x, r: f"{iso(s, 'T')} - 0 - levanter - INFO :: Progress on:train {s / 1000:.2f}kit/0.8kit "
              f"rate:1.2it/s remaining:13:00 elapsed:01:00 postfix:loss={x}"), planned=800),
    "kohya": Layout(
        lines(lambda s, x, r: f"\rsteps:   1%|▏    | {s}/800 [00:01<05:30,  1.00s/it, avr_loss={x}]"), planned=800,
        flags=("moving_average",)),
    "smoothed by name": Layout(
        lines(lambda s, x, r: f"step {s} smoothed loss {x} lr {r}"), lr=True, flags=("moving_average",)),
    "smoothed and not": Layout(table("step,loss_ema,train_nll_loss", "{s},9.1,{x}"), "m.csv"),
    "a table, a row for each value": Layout(
        lambda p: "step,tag,value\n" + "".join(
            f"{s},{half}/loss,{x}\n{s},lr,{r}\n" for half, s, x, r in rows_of(p)), "tb.csv", lr=True, val=True),
    "JSON lines, a row for each value": Layout(
        lambda p: joined(lambda i, s, x, r: "".join(
            json.dumps({"name": n, "step": s, "value": v}) + "\n" for n, v in (("loss", x), ("lr", r))), p),
        "metrics.jsonl", lr=True),
    "rows of a mode in any column": Layout(
        json_rows(lambda half, s, x, r: {"event": f"{half}_step", "step": s, "loss": x}), "m.jsonl", val=True),
    "rows of training by a truth value": Layout(
        lambda p: "step,is_train,loss\n" + "".join(
            f"{s},{int(half == 'train')},{x}\n" for half, s, x, r in rows_of(p)), "m.csv", val=True),
    "JSON in an envelope": Layout(
        json_lines_of(lambda s, x, r: {"time": iso(s, "T"), "data": {"step": s, "loss": x, "lr": r}}), "l.jsonl", lr=True),
    "Docker's JSON": Layout(
        json_lines_of(lambda s, x, r: {"log": f"step {s} | loss {x} | lr {r}\n", "stream": "stdout", "time": iso(s, "T")}),
        "abc-json.log", lr=True),
    "a cloud's JSON": Layout(
        json_lines_of(lambda s, x, r: {"insertId": "a", "textPayload": f"step {s} loss={x}", "severity": "INFO"}), "l.jsonl"),
    "a place of a total in JSON": Layout(
        json_lines_of(lambda s, x, r: {"loss": x, "learning_rate": r, "global_step/max_steps": f"{s}/800"}),
        "logging.jsonl", lr=True, planned=800),
    "a place of a total in CSV": Layout(table("step,loss", "{s}/800,{x}"), "m.csv", planned=800),
    "pandas, columns": Layout(
        json_of(lambda p: {"step": dict(enumerate(p.step.tolist())), "loss": dict(enumerate(p.loss.tolist()))}), "d.json"),
    "pandas, split": Layout(
        json_of(lambda p: {"columns": ["step", "loss"], "index": list(range(len(p.step))),
                           "data": [list(row) for row in zip(p.step.tolist(), p.loss.tolist(), strict=True)]}), "d.json"),
    "JSON, names and rows": Layout(
        json_of(lambda p: [["step", "loss"], *([s, x] for s, x, _ in p)]), "d.json"),
    "JSON, plurals": Layout(
        json_of(lambda p: {"steps": p.step.tolist(), "train_losses": p.loss.tolist(), "learning_rates": p.lr.tolist()}),
        "d.json", lr=True),
    "JSON, losses only": Layout(json_of(lambda p: {"train_losses": p.loss.tolist()}), "d.json", **INDEX),
    "what Python prints of rows": Layout(
        lambda p: str([{"step": s, "loss": x, "lr": None} for s, x, _ in p]), "log.txt"),
    "what Python prints of columns": Layout(
        lambda p: str({"step": p.step.tolist(), "loss": p.loss.tolist()}), "log.txt"),
    "JSON lines with commas": Layout(
        lambda p: joined(lambda i, s, x, r: json.dumps({"step": s, "loss": x}) + ",\n", p), "log.json"),
    "an array that is not closed": Layout(
        lambda p: "[\n" + joined(lambda i, s, x, r: json.dumps({"step": s, "loss": x}) + ",\n", p), "log.json",
        flags=("cut_line",)),
    "a bar without an end": Layout(
        lines(lambda s, x, r: f"\r{s}it [00:{s % 60:02d}, 12.31it/s, loss={x}, lr={r}]"), lr=True),
    "YAML": Layout(lambda p: joined(lambda i, s, x, r: f"- step: {s}\n  loss: {x}\n  lr: {r}\n", p), "log.yaml", lr=True),
    "a ruled table": Layout(
        table("+------+--------+\n| step |  loss  |\n+------+--------+", "| {s} | {x} |"), "log.txt"),
    "comments above the names": Layout(table("# experiment: a\n# seed: 1\nstep,loss", "{s},{x}"), "m.csv"),
    "Caffe's table": Layout(table("NumIters,Seconds,LearningRate,loss", "{s},1.1,{r},{x}"), "caffe.log.train", lr=True),
    "CatBoost's table": Layout(table("iter\tLogloss", "{s}\t{x}"), "learn_error.tsv"),
    "Stable-Baselines3 progress.csv": Layout(
        table("time/iterations,time/total_timesteps,train/learning_rate,train/loss,train/n_updates,train/value_loss",
              "{i},{s},{r},{x},{i},55.2"), "progress.csv", lr=True),
    "YOLO console, one loss chosen": Layout(
        table("      Epoch    GPU_mem   box_loss   cls_loss   dfl_loss  Instances       Size",
              "      {i}/48      2.31G     {x:.4f}      2.312      1.123         64        640: 100%|####| 8/8 [00:02<00:00]"),
        **EPOCH1, options={"loss": "box_loss"}),
}  # fmt: skip
ALL = {**LAYOUTS, **MORE}
