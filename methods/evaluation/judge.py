"""An independent judge: a small classifier, trained on real clips alone, names the signs in generated ones.

It never sees a generated clip, a caption or the generator. What it is shown of a clip are a few moments of every sign,
cut out around the hand where clips are drawings with coloured fingers, so that place and size in the picture do not
matter. Its own share of right answers on real clips that it was not trained on is the ceiling for generated ones.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from config import UserError
from dataset import TextToSignDataset
from methods.evaluation.hand_crop import hand_crop
from methods.evaluation.scores import Score
from utils import runtime
from utils.captions import asked, letter_spans
from utils.split import group_of, without_copies
from utils.video import frame_indices, resize_and_crop

SIZE = 32  # px, height and width of what the recogniser sees
MOMENTS = 4  # of every sign, evenly
HANDS_WANTED = 0.9  # share of the real signs in which a hand must be found for hands to be cut out
NETWORK = "test_resnet"  # of timm: small, and quicker to learn than what is named for use (benchmarks/LOG.md)
STEPS, BATCH = 500, 64
LEARNING_RATE, WARM_UP = 3e-3, 20  # the rate rises over so many steps,
LEARNT, WINDOW, FALL = 0.98, 20, 60  # and falls over the last ones: see train_recogniser
LABEL_SMOOTHING = 0.1
MAX_TURN, MAX_ZOOM, MAX_SHIFT = 12.0, 0.12, 0.08  # degrees; share of the size; share of the side
FEATURES = 128
DROPOUT = 0.3
KEPT_BACK = 0.2  # of the groups of clips, for the ceiling, where nothing is held out


class NetworkError(UserError):
    """The recogniser cannot be built on the network that was asked for."""


class TooShortError(UserError):
    """A clip cannot show all signs that its caption asks for."""


@dataclass(frozen=True)
class Sign:
    """One sign of a clip: ``pictures`` (MOMENTS, SIZE, SIZE, 3) uint8, the ``name`` that its caption gives it."""

    pictures: np.ndarray
    name: str


def signs_of(clip: np.ndarray, caption: str, *, crop: bool) -> list[Sign]:
    """The signs that ``caption`` asks for, each where it must be in a ``clip`` (F, H, W, 3) uint8.

    ``crop`` cuts out the hand; where none is found, the whole picture is shown.

    Raises:
        TooShortError: the clip has fewer than two frames for each of several signs.
    """
    names = asked(caption).signs
    if len(clip) < 2 * len(names) and len(names) > 1:
        raise TooShortError(
            f"the caption {caption!r} asks for {len(names)} signs, and a clip of {len(clip)} frames shows "
            f"{len(clip) // 2} at most, two frames each. Leave such clips out, or train with a larger NUM_FRAMES."
        )
    spans = letter_spans(len(names), len(clip)) if len(names) > 1 else [slice(0, len(clip))]
    signs = []
    for name, span in zip(names, spans, strict=True):
        frames = clip[span]
        frames = frames[frame_indices(len(frames), MOMENTS)]
        cut = hand_crop(frames, SIZE) if crop else None
        signs.append(Sign(resize_and_crop(frames, SIZE) if cut is None else cut, name))
    return signs


def hands_are_coloured(clips: list[np.ndarray]) -> bool:
    """Whether a hand can be found by its colours in nearly all of some real clips."""
    return bool(np.mean([hand_crop(clip, 8) is not None for clip in clips]) >= HANDS_WANTED)


class Judge:
    """A trained recogniser: ``name_signs`` says what it sees."""

    def __init__(
        self,
        clips: list[np.ndarray],
        captions: list[str],
        *,
        seed: int,
        num_steps: int = STEPS,
        network: str = NETWORK,
    ) -> None:
        """Train on real ``clips`` (F, H, W, 3) uint8, for at most ``num_steps``; a function of all of these."""
        self.crop = hands_are_coloured(clips)
        signs = [sign for clip, caption in zip(clips, captions, strict=True) for sign in self.signs_of(clip, caption)]
        self.names = sorted({sign.name for sign in signs})
        self.num_training_signs = len(signs)
        self.network_name = network
        self.network, self.num_steps = train_recogniser(
            signs, self.names, seed=seed, num_steps=num_steps, network=network
        )

    def signs_of(self, clip: np.ndarray, caption: str) -> list[Sign]:
        """As ``signs_of``, the way this judge was trained."""
        return signs_of(clip, caption, crop=self.crop)

    @torch.no_grad()
    def name_signs(self, clips: list[np.ndarray], captions: list[str]) -> list[list[str]]:
        """For each clip its most probable signs, as many as its caption asks for and where it asks for them."""
        signs = [self.signs_of(clip, caption) for clip, caption in zip(clips, captions, strict=True)]
        flat = pictures_of([sign for of_clip in signs for sign in of_clip])
        found = [self.names[i] for part in flat.split(BATCH) for i in self.network(part).argmax(1).tolist()]
        answers = iter(found)
        return [[next(answers) for _ in of_clip] for of_clip in signs]

    @torch.no_grad()
    def features(self, clips: list[np.ndarray], captions: list[str]) -> np.ndarray:
        """(clips, FEATURES) float32: what it sees in each clip before it names anything, the mean over its signs."""
        signs = [self.signs_of(clip, caption) for clip, caption in zip(clips, captions, strict=True)]
        flat = pictures_of([sign for of_clip in signs for sign in of_clip])
        seen = torch.cat([self.network.features(part) for part in flat.split(BATCH)])
        return torch.stack([part.mean(0) for part in seen.split([len(of_clip) for of_clip in signs])]).numpy()

    def knows(self, caption: str) -> bool:
        """Whether it was trained on every sign that the caption asks for."""
        return set(asked(caption).signs) <= set(self.names)

    def score(self, answers: list[list[str]], captions: list[str]) -> Score | None:
        """Of its ``answers``, over the clips all of whose signs it knows; None if there are none."""
        known = [(answer, text) for answer, text in zip(answers, captions, strict=True) if self.knows(text)]
        return named_right(*map(list, zip(*known, strict=True)), num_signs=len(self.names)) if known else None


def named_right(answers: list[list[str]], captions: list[str], *, num_signs: int) -> Score:
    """Signs named as the captions ask for them, each in its place.

    Chance is one in ``num_signs``, or what always saying the sign that is asked for most often gets, if that is more.
    """
    pairs = [
        pair
        for answer, caption in zip(answers, captions, strict=True)
        for pair in zip(answer, asked(caption).signs, strict=True)
    ]
    commonest = max(Counter(wanted for _, wanted in pairs).values()) / len(pairs)
    return Score(sum(found == wanted for found, wanted in pairs), len(pairs), max(1 / num_signs, commonest))


# ---- The network -----------------------------------------------------------------------------------------------------


class SignRecogniser(nn.Module):
    """A network of timm over each moment, a convolution over time, the mean over moments, a linear map."""

    def __init__(self, num_signs: int, *, network: str) -> None:
        """``network``: a name of timm's; its weights are drawn, none are loaded.

        Raises:
            NetworkError: timm has no such network, or it does not take pictures of SIZE px.
        """
        from timm import create_model  # a second or two, so not before it is needed

        super().__init__()
        try:
            self.see = create_model(network, pretrained=False, in_chans=3, num_classes=0)
            fixed = self.see.default_cfg.get("fixed_input_size", False)
            self.size = self.see.default_cfg["input_size"][1] if fixed else SIZE  # px; that of a ViT is its own
            with torch.no_grad():
                width = self.see.eval()(torch.zeros(1, 3, self.size, self.size)).shape[1]
        except (RuntimeError, AssertionError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise NetworkError(
                f"--recogniser {network} cannot be used ({reason}); wanted a network of timm that takes pictures of "
                f"{SIZE} px, such as {NETWORK} or resnet18."
            ) from error
        self.through_time = nn.Conv1d(width, FEATURES, 3, padding=1)
        self.dropout = nn.Dropout(DROPOUT)
        self.name = nn.Linear(FEATURES, num_signs)

    def forward(self, pictures: Tensor) -> Tensor:
        """pictures (B, M, 3, SIZE, SIZE) in [-1, 1] of M moments -> logits (B, num_signs)."""
        return self.name(self.dropout(self.features(pictures)))

    def features(self, pictures: Tensor) -> Tensor:
        """The same -> (B, FEATURES)."""
        return self.over_time(self.look(pictures.flatten(0, 1)).unflatten(0, pictures.shape[:2]))

    def look(self, pictures: Tensor) -> Tensor:
        """(N, 3, SIZE, SIZE) -> (N, width), each picture by itself."""
        if self.size != SIZE:
            pictures = functional.interpolate(pictures, size=(self.size, self.size), mode="bilinear")
        return self.see(pictures)

    def over_time(self, seen: Tensor) -> Tensor:
        """What was seen at M moments, (B, M, width) -> (B, FEATURES)."""
        return functional.relu(self.through_time(seen.transpose(1, 2))).mean(2)


def train_recogniser(
    signs: list[Sign], names: list[str], *, seed: int, num_steps: int, network: str
) -> tuple[SignRecogniser, int]:
    """AdamW at a constant rate until the network has learnt, then FALL steps while the rate falls to zero.

    It has learnt when LEARNT of the signs of the last WINDOW steps were named right, every one of them moved, turned
    and scaled anew. It ends after ``num_steps`` whether it has or not; returns the steps taken, too.
    """
    pictures, labels = pictures_of(signs), torch.tensor([names.index(sign.name) for sign in signs])
    draw = runtime.generator(seed, "recogniser")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(runtime.derive_seed(seed, "recogniser", "weights"))
        model = SignRecogniser(len(names), network=network).train()
        optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.05)
        right, end = [], num_steps
        with tqdm(total=num_steps, desc="recogniser", unit="step", dynamic_ncols=True) as bar:
            while len(right) < end:
                for group in optimizer.param_groups:
                    group["lr"] = LEARNING_RATE * min(1.0, (len(right) + 1) / WARM_UP, (end - len(right)) / FALL)
                rows = torch.randint(len(signs), (min(BATCH, 2 * len(signs)),), generator=draw)
                logits = model(vary(pictures[rows], draw))
                optimizer.zero_grad(set_to_none=True)
                functional.cross_entropy(logits, labels[rows], label_smoothing=LABEL_SMOOTHING).backward()
                optimizer.step()
                right.append(float((logits.argmax(1) == labels[rows]).float().mean()))
                if end == num_steps and len(right) >= WINDOW and sum(right[-WINDOW:]) >= LEARNT * WINDOW:
                    end = min(num_steps, len(right) + FALL)
                bar.update()
    return model.eval(), end


def vary(pictures: Tensor, draw: torch.Generator) -> Tensor:
    """(B, M, 3, H, W): each row turned, scaled and moved at random, alike in all its moments; white comes in."""
    b, m = pictures.shape[:2]
    u = torch.rand(b, 4, generator=draw) * 2 - 1
    turn, zoom = torch.deg2rad(MAX_TURN * u[:, 0]), 1 + MAX_ZOOM * u[:, 1]
    cosine, sine, shift = turn.cos() * zoom, turn.sin() * zoom, 2 * MAX_SHIFT * u[:, 2:]
    maps = torch.stack([torch.stack([cosine, -sine, shift[:, 0]], 1), torch.stack([sine, cosine, shift[:, 1]], 1)], 1)
    flat = pictures.flatten(0, 1)
    grid = functional.affine_grid(maps.repeat_interleave(m, 0), list(flat.shape), align_corners=False)
    moved = functional.grid_sample(flat - 1, grid, align_corners=False) + 1  # beyond the edge: 1, white
    return moved.unflatten(0, (b, m))


def pictures_of(signs: list[Sign]) -> Tensor:
    """(B, M, 3, SIZE, SIZE) float32 in [-1, 1]."""
    stacked = torch.from_numpy(np.stack([sign.pictures for sign in signs]))
    return stacked.permute(0, 1, 4, 2, 3).float() / 127.5 - 1


# ---- The ceiling -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Judgement:
    """The judge, and how good it is: its ``ceiling`` on real clips that it was not trained on, and which those are.

    ``training``: the rows of the clips that it was trained on.
    """

    judge: Judge
    ceiling: Score | None
    ceiling_of: str
    training: frozenset[int]


def train_judge(
    data: TextToSignDataset,
    training: list[int],
    held_out: list[int],
    *,
    seed: int,
    num_steps: int = STEPS,
    network: str = NETWORK,
) -> Judgement:
    """A judge of the real clips ``training``, copies included, and its ceiling on the clips ``held_out``.

    Where nothing is held out, some training clips are kept back for the ceiling. Where every sign has one clip, that
    cannot be: the ceiling is unknown, and that is said.
    """
    if held_out:
        own, test, of = training, held_out, "held-out real clips"
    else:
        test = _kept_back(data, training, seed)
        own = [row for row in training if row not in set(test)]
        test = without_copies(data.names, test, copies=data.copies)
        of = "real clips that the recogniser was not trained on" if test else "nothing: every sign has one real clip"
    clips, texts = [data.frames(row) for row in own], [data.texts[row] for row in own]
    judge = Judge(clips, texts, seed=seed, num_steps=num_steps, network=network)
    if not test:
        return Judgement(judge, None, of, frozenset(own))
    captions = [data.texts[row] for row in test]
    ceiling = judge.score(judge.name_signs([data.frames(row) for row in test], captions), captions)
    of = of if ceiling else "nothing: no held-out clip shows a sign that was trained on"
    return Judgement(judge, ceiling, of, frozenset(own))


def _kept_back(data: TextToSignDataset, rows: list[int], seed: int) -> list[int]:
    """Rows of a seeded KEPT_BACK of the groups, as far as every sign of theirs stays in another group."""
    groups: dict[str, list[int]] = {}
    for row in rows:
        groups.setdefault(group_of(data.names[row]), []).append(row)
    signs = {name: {sign for row in own for sign in asked(data.texts[row]).signs} for name, own in groups.items()}
    left = {sign: sum(sign in own for own in signs.values()) for own in signs.values() for sign in own}
    names = sorted(groups)
    order = torch.randperm(len(names), generator=runtime.generator(seed, "recogniser's own split")).tolist()
    taken: list[int] = []
    budget = round(KEPT_BACK * len(names))
    for name in (names[i] for i in order):
        if budget and all(left[sign] > 1 for sign in signs[name]):
            budget -= 1
            taken += groups[name]
            for sign in signs[name]:
                left[sign] -= 1
    return taken
