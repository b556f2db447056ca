"""What each command of `fastfc` does, once its options are parsed. Output fits 80 columns, on a terminal or without.

`fastfc.cli.training` has train, and `fastfc.cli.runs` what is done with the folder of a training.
"""

from __future__ import annotations

import argparse
import statistics
import time
import timeit
from collections import Counter
from collections.abc import Callable
from math import isqrt
from typing import TYPE_CHECKING, Any

from fastfc.cli.common import check_outputs, chosen, load, redirected, test_data, write_json
from fastfc.errors import invalid
from fastfc.machine.terminal import counted, wrapped

if TYPE_CHECKING:
    from fastfc.network import Network


def export(options: argparse.Namespace) -> None:
    import fastfc
    from fastfc.export import check_kind
    from fastfc.export import export as write

    check_kind(options.out, "OUT")
    write(fastfc.load(options.model), options.out, **chosen(options, "classes", "columns", "title"))
    print(f"saved {options.out}, {options.out.stat().st_size:,} bytes")


def predict(options: argparse.Namespace) -> None:
    import fastfc

    if bool(options.images) == bool(options.data):
        raise invalid("predict", "both" if options.data else "neither", "either image files or --data")
    model = fastfc.load(options.model)
    if options.data:
        data = load(options.data)
        X, y, part = data.held_out()
        score, n = model.score(X, y), X.shape[0]
        share = f"accuracy {100 * score:.2f} % ({round(score * n):,} of {n:,})"
        print(wrapped(f"{data.name}: {part} {f'R2 {score:.4f} ({n:,} samples)' if model.regression else share}"))
        return
    from fastfc.images import prepare

    for image in options.images:
        pixels = prepare(image, ink=options.ink, size=model.image_shape[0] if model.image_shape else 28)
        _print_prediction(image, model, pixels)
        if options.show:
            _show(pixels)


def _print_prediction(name: str, model: Network, pixels: Any) -> None:
    """pixels: (height * width,) uint8"""
    row = pixels.reshape(1, -1)
    if model.regression:
        print(f"{name}: {' '.join(f'{value:.6g}' for value in model.predict(row).ravel())}")
        return
    print(f"{name}: {model.predict(row)[0]}")
    shares = [f"{i}: {100 * p:.1f} %" for i, p in enumerate(model.predict_proba(row)[0])]
    half = (len(shares) + 1) // 2
    for part in (shares[:half], shares[half:]):
        if part:
            print("  " + "".join(f"{share:14}" for share in part).rstrip())


def _show(pixels: Any) -> None:
    """pixels: (side * side,) uint8. Two characters a pixel make it about square: 56 columns for 28x28."""
    for line in pixels.reshape(isqrt(pixels.size), -1):
        print("".join(2 * " .:-=+*#%@"[int(value) * 10 // 256] for value in line).rstrip())


def compare(options: argparse.Namespace) -> None:
    import fastfc
    from fastfc.cli.options import given_settings

    settings = {"epochs": 1, **given_settings(options)}
    check_outputs(options)
    with redirected(options):
        comparison = fastfc.compare(
            data=load(options.data),
            test_data=test_data(options),
            backends=tuple(options.backends.split(",")),
            **chosen(options, "repeats", "threads", "seed"),
            **settings,
        )
        print(comparison)
    if options.json:
        write_json(options.json, comparison.to_dict())


def info(options: argparse.Namespace) -> None:
    import fastfc

    for name, text in fastfc.info().items():
        print(wrapped(text, f"{name:10}", 10 * " "))


def warmup(options: argparse.Namespace) -> None:
    from tqdm import tqdm

    from fastfc import ahead
    from fastfc.kernels.fused.compiler.entry import say_once
    from fastfc.kernels.fused.compiler.making import make, missing_of
    from fastfc.kernels.fused.folder import cache_folder, why_not_kept

    start = time.perf_counter()
    kernels = ahead.everything() if options.all else ahead.usual()
    missing = missing_of(kernels)
    if missing:
        say_once()
        with tqdm(total=len(missing), desc="compiling", unit="kernel", disable=None, leave=False) as bar:
            make(missing, report=lambda kernel: bar.update())
    kept = f"but not kept: {why_not_kept()}" if why_not_kept() else f"kept in {cache_folder()}"
    print(wrapped(f"kernels ready in {time.perf_counter() - start:.1f} s, {kept}"))
    print(wrapped(f"{len(kernels) - len(missing)} of {len(kernels)} were there, {len(missing)} were compiled"))
    for name, count in sorted(Counter(name for name, _ in missing).items()):
        print(f"  {counted(count, 'form')} of {name}")


def reproduce(options: argparse.Namespace) -> None:
    from fastfc.reports.reproduce import reproduce as run

    run(options.names, **chosen(options, "backend", "out", "data", "epochs", "threads", "seed", "verbose"))


def bench(options: argparse.Namespace) -> None:
    import numpy as np

    import fastfc

    how = chosen(options, "threads", "seed")
    data = load(options.data)
    rng = np.random.default_rng(options.seed)
    dense = rng.standard_normal(data.X.shape, dtype=np.float32), data.y
    images = fastfc.compare(data, **how)
    print(f"{images}\n\nThe same shapes, input without zeros")
    print(f"{fastfc.compare(dense, **how)}\n")
    X = data.held_out()[0]
    print(f"{'backend':10}{'predict 1':>14}{f'predict {len(X):,}':>20}")
    for result in images.results:
        one, all_ = (_seconds(result.model.predict, part) for part in (X[:1], X))
        print(f"{result.backend:10}{1e6 * one:11.1f} us{1e3 * all_:17.2f} ms")


def _seconds(function: Callable[[Any], Any], argument: Any) -> float:
    """Median time of a call, over rounds of about 0.1 s."""
    timer = timeit.Timer(lambda: function(argument))
    calls, seconds = timer.autorange()
    calls = max(1, round(0.1 * calls / seconds))
    return statistics.median(timer.repeat(repeat=7, number=calls)) / calls
