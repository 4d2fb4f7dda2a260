"""Which runs are not of language models on text, by the words in their names."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from .._base.ragged import Bools, Floats

DOMAINS = ("auto", "text", "other")
LIKE = {"auto": np.nan, "text": 1.0, "other": 0.0}


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z]+", text.lower())


#: Data sets, models and tasks of other domains.  A classifier's loss looks like a language model's
#: but may fall by half at the end of its schedule: the interval must allow for that.
OTHER = frozenset(
    _words(
        "imagenet cifar mnist coco voc ade cityscapes kinetics laion celeba "
        "resnet resnext vgg densenet mobilenet efficientnet convnext swin vit deit unet "
        "yolo detr rcnn retinanet maskrcnn segformer deeplab "
        "simclr moco byol dino mae jepa swav "
        "ddpm diffusion vae vqvae vqgan gan nerf "
        "image images vision classifier classification segmentation detection detector "
        "librispeech audio speech music whisper hubert wav asr tts "
        "nmt wmt translation "
        "molecule molecules ogbg qm nequip mace schnet cgcnn pinn weather "
        "criteo dlrm tabular eeg ecg "
    )
)
TEXT = frozenset(
    _words(
        "lm llm gpt nanogpt mingpt minigpt llama chinchilla mamba pythia olmo qwen mistral gemma "
        "bert roberta text language"
    )
)


def named_other(name: str) -> str:
    """The word in a run's name that says it is no language model's; "" for none.

    Parameters
    ----------
    name : str
        A name that has a word of text too says nothing.

    Examples
    --------
    >>> named_other("imagenet_resnet50-s1/train")
    'imagenet'
    >>> named_other("llama2-7B")
    ''
    """
    words = _words(name)
    if not TEXT.isdisjoint(words):
        return ""
    return next((word for word in words if word in OTHER), "")


def likes(
    names: Sequence[str],
    domain: str,  # {"auto", "text", "other"}
) -> tuple[Floats, Bools]:
    """How much each run is said to be a language model's, NaN for unsaid; and which by its name."""
    by_name = np.array([domain == "auto" and named_other(name) != "" for name in names], bool)
    return np.where(by_name, LIKE["other"], LIKE[domain]), by_name
