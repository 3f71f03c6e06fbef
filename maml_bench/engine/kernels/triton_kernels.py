"""The kernels of gpu.py in Triton's language. Layouts are in ops, formulas in normalisation.h.

Sizes of maps are constants, so that divisions by them are cheap: every layer's shape is compiled once, and kept on disk
by Triton.
"""

import triton
import triton.language as tl


@triton.jit
def conv(
    x, w, y, pixels, H: tl.constexpr, W: tl.constexpr, IN: tl.constexpr, OUT: tl.constexpr, STRIDE: tl.constexpr,
    INPUT: tl.constexpr, BM: tl.constexpr, BK: tl.constexpr, BN: tl.constexpr, PRECISION: tl.constexpr,
    LARGE: tl.constexpr,
):  # fmt: skip
    """``y [pixels, N]``; INPUT: of the convolution's derivative in the input, where x and y have changed places;
    LARGE: a task has more elements than 32 bits count."""
    HIGH: tl.constexpr = (H - 1) // STRIDE + 1
    WIDE: tl.constexpr = (W - 1) // STRIDE + 1
    K: tl.constexpr = OUT if INPUT else IN
    N: tl.constexpr = IN if INPUT else OUT
    task = tl.program_id(1).to(tl.int64)
    p = (tl.program_id(0).to(tl.int64) if LARGE else tl.program_id(0)) * BM + tl.arange(0, BM)
    c = tl.program_id(2) * BN + tl.arange(0, BN)
    images = pixels // (H * W) if INPUT else pixels // (HIGH * WIDE)
    if INPUT:
        x += task * images * HIGH * WIDE * OUT
        n, row, column = p // (H * W), p // W % H, p % W
    else:
        x += task * images * H * W * IN
        n, row, column = p // (HIGH * WIDE), p // WIDE % HIGH, p % WIDE
    w += task * 9 * IN * OUT
    y += task * pixels * N
    total = tl.zeros((BM, BN), tl.float32)
    for start in range(0, 9 * K, BK):
        k = start + tl.arange(0, BK)
        tap, channel = k // K, k % K
        fits = (p < pixels)[:, None] & (k < 9 * K)[None, :]
        if INPUT:
            down = row[:, None] + 1 - (tap // 3)[None, :]
            right = column[:, None] + 1 - (tap % 3)[None, :]
            fits = fits & (down >= 0) & (right >= 0) & (down % STRIDE == 0) & (right % STRIDE == 0)
            down, right = down // STRIDE, right // STRIDE
            fits = fits & (down < HIGH) & (right < WIDE)
            place = (n[:, None] * HIGH + down) * WIDE + right
            weight = (tap[:, None] * IN + c[None, :]) * OUT + channel[:, None]
        else:
            down = row[:, None] * STRIDE + (tap // 3)[None, :] - 1
            right = column[:, None] * STRIDE + (tap % 3)[None, :] - 1
            fits = fits & (down >= 0) & (right >= 0) & (down < H) & (right < W)
            place = (n[:, None] * H + down) * W + right
            weight = k[:, None] * OUT + c[None, :]
        left = tl.load(x + place * K + channel[None, :], mask=fits, other=0.0)
        right_side = tl.load(w + weight, mask=(k < 9 * K)[:, None] & (c < N)[None, :], other=0.0)
        total = tl.dot(left, right_side, total, input_precision=PRECISION)
    tl.store(y + p[:, None] * N + c[None, :], total, mask=(p < pixels)[:, None] & (c < N)[None, :])


@triton.jit
def conv_filter(
    x, g, d, tasks, pixels, H: tl.constexpr, W: tl.constexpr, IN: tl.constexpr, OUT: tl.constexpr, STRIDE: tl.constexpr,
    SPLITS: tl.constexpr, BK: tl.constexpr, BP: tl.constexpr, BN: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """``d [SPLITS, T, 9 * IN, OUT]``, of every SPLITS-th block of pixels."""
    HIGH: tl.constexpr = (H - 1) // STRIDE + 1
    WIDE: tl.constexpr = (W - 1) // STRIDE + 1
    BLOCKS: tl.constexpr = (OUT + BN - 1) // BN
    split = tl.program_id(1)
    task = tl.program_id(2).to(tl.int64)
    k = tl.program_id(0) // BLOCKS * BK + tl.arange(0, BK)
    o = tl.program_id(0) % BLOCKS * BN + tl.arange(0, BN)
    tap, channel = k // IN, k % IN
    x += task * (pixels // (HIGH * WIDE)) * H * W * IN
    g += task * pixels * OUT
    total = tl.zeros((BK, BN), tl.float32)
    for start in range(split * BP, pixels, SPLITS * BP):
        p = start + tl.arange(0, BP)
        n, row, column = p // (HIGH * WIDE), p // WIDE % HIGH, p % WIDE
        down = (row * STRIDE)[None, :] + (tap // 3 - 1)[:, None]
        right = (column * STRIDE)[None, :] + (tap % 3 - 1)[:, None]
        fits = (down >= 0) & (right >= 0) & (down < H) & (right < W) & (p < pixels)[None, :] & (k < 9 * IN)[:, None]
        place = (n[None, :] * H + down) * W + right
        left = tl.load(x + place * IN + channel[:, None], mask=fits, other=0.0)
        slope = tl.load(g + p[:, None] * OUT + o[None, :], mask=(p < pixels)[:, None] & (o < OUT)[None, :], other=0.0)
        total = tl.dot(left, slope, total, input_precision=PRECISION)
    d += (split * tasks + task) * 9 * IN * OUT
    tl.store(d + k[:, None] * OUT + o[None, :], total, mask=(k < 9 * IN)[:, None] & (o < OUT)[None, :])


@triton.jit
def _cell(p, cells, H: tl.constexpr, W: tl.constexpr, POOL: tl.constexpr):
    """Of cells ``p [BP]``, which are pixels or squares of four: their pixels ``[BP, 1 or 4]``, which of them exist,
    whether the cell has an output, and which."""
    if POOL:
        high: tl.constexpr = (H + 1) // 2
        wide: tl.constexpr = (W + 1) // 2
        n, v, u = p // (high * wide), p // wide % high, p % wide
        j = tl.arange(0, 4)
        row = 2 * v[:, None] + (j // 2)[None, :]
        column = 2 * u[:, None] + (j % 2)[None, :]
        there = (p < cells)[:, None] & (row < H) & (column < W)
        whole = (p < cells) & (2 * v + 1 < H) & (2 * u + 1 < W)
        return (n[:, None] * H + row) * W + column, there, whole, (n * (H // 2) + v) * (W // 2) + u
    return p[:, None], (p < cells)[:, None], p < cells, p


@triton.jit
def _origin(z, whole, POOL: tl.constexpr):
    """Where the output came from, of ``z [BP, 1 or 4, BC]``: of equal ones the first."""
    if POOL:
        top = tl.max(z, 1)
        j = tl.arange(0, 4)[None, :, None]
        first = tl.min(tl.where(z >= top[:, None, :], j, 4), 1)
        return (j == first[:, None, :]) & (top > 0)[:, None, :] & whole[:, None, None]
    return (z > 0) & whole[:, None, None]


@triton.jit
def _total(part, task, which: tl.constexpr, c, C: tl.constexpr, SUMS: tl.constexpr, SPLITS: tl.constexpr):
    """The sum number ``which`` of ``part [T, SPLITS, SUMS, C]``."""
    s = tl.arange(0, SPLITS)
    place = ((task * SPLITS + s[:, None]) * SUMS + which) * C + c[None, :]
    return tl.sum(tl.load(part + place, mask=(c < C)[None, :], other=0.0), 0)


@triton.jit
def norm_sums(x, part, pixels, C: tl.constexpr, SPLITS: tl.constexpr, BP: tl.constexpr, BC: tl.constexpr):
    """Sums of x and x^2, each less the first pixel, so that squares lose few digits."""
    split = tl.program_id(0)
    task = tl.program_id(1)
    c = tl.program_id(2) * BC + tl.arange(0, BC)
    x += task.to(tl.int64) * pixels * C
    near = tl.load(x + c, mask=c < C, other=0.0)
    s1 = tl.zeros((BP, BC), tl.float32)
    s2 = tl.zeros((BP, BC), tl.float32)
    for start in range(split * BP, pixels, SPLITS * BP):
        p = start + tl.arange(0, BP)
        there = (p < pixels)[:, None] & (c < C)[None, :]
        off = tl.where(there, tl.load(x + p[:, None] * C + c[None, :], mask=there, other=0.0) - near[None, :], 0.0)
        s1 += off
        s2 += off * off
    part += (task * SPLITS + split) * 2 * C
    tl.store(part + c, tl.sum(s1, 0), mask=c < C)
    tl.store(part + C + c, tl.sum(s2, 0), mask=c < C)


@triton.jit
def norm(
    x, gamma, beta, y, mean, r, part, cells, pixels, eps, H: tl.constexpr, W: tl.constexpr, C: tl.constexpr,
    POOL: tl.constexpr, SPLITS: tl.constexpr, BP: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    task = tl.program_id(1)
    c = tl.program_id(2) * BC + tl.arange(0, BC)
    inside = c < C
    x += task.to(tl.int64) * pixels * C
    images = pixels // (H * W)
    y += task.to(tl.int64) * images * ((H // 2) * (W // 2) if POOL else H * W) * C
    shift = _total(part, task, 0, c, C, 2, SPLITS) / pixels
    variance = _total(part, task, 1, c, C, 2, SPLITS) / pixels - shift * shift
    middle = tl.load(x + c, mask=inside, other=0.0) + shift
    scale = 1 / tl.sqrt(tl.maximum(variance, 0.0) + eps)
    if tl.program_id(0) == 0:
        tl.store(mean + task * C + c, middle, mask=inside)
        tl.store(r + task * C + c, scale, mask=inside)
    factor = tl.load(gamma + task * C + c, mask=inside, other=0.0)
    offset = tl.load(beta + task * C + c, mask=inside, other=0.0)
    for start in range(tl.program_id(0) * BP, cells, tl.num_programs(0) * BP):
        pixel, there, whole, out = _cell(start + tl.arange(0, BP), cells, H, W, POOL)
        there = there[:, :, None] & inside[None, None, :]
        h = (tl.load(x + pixel[:, :, None] * C + c[None, None, :], mask=there, other=0.0) - middle) * scale
        z = tl.max(factor * h + offset, 1)
        z = tl.where(z <= 0, 0.0, z)  # what is no number stays none
        tl.store(y + out[:, None] * C + c[None, :], z, mask=whole[:, None] & inside[None, :])


@triton.jit
def backward_sums(
    x, gamma, beta, mean, r, dy, u, part, cells, pixels, H: tl.constexpr, W: tl.constexpr, C: tl.constexpr,
    POOL: tl.constexpr, DOUBLE: tl.constexpr, SPLITS: tl.constexpr, BP: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """Sums of e and e h; DOUBLE: of u, u h and u e too."""
    split = tl.program_id(0)
    task = tl.program_id(1)
    c = tl.program_id(2) * BC + tl.arange(0, BC)
    inside = c < C
    x += task.to(tl.int64) * pixels * C
    u += task.to(tl.int64) * pixels * C
    images = pixels // (H * W)
    dy += task.to(tl.int64) * images * ((H // 2) * (W // 2) if POOL else H * W) * C
    middle = tl.load(mean + task * C + c, mask=inside, other=0.0)
    scale = tl.load(r + task * C + c, mask=inside, other=0.0)
    factor = tl.load(gamma + task * C + c, mask=inside, other=0.0)
    offset = tl.load(beta + task * C + c, mask=inside, other=0.0)
    e1 = tl.zeros((BP, BC), tl.float32)
    eh = tl.zeros((BP, BC), tl.float32)
    u1 = tl.zeros((BP, BC), tl.float32)
    uh = tl.zeros((BP, BC), tl.float32)
    ue = tl.zeros((BP, BC), tl.float32)
    for start in range(split * BP, cells, SPLITS * BP):
        pixel, there, whole, out = _cell(start + tl.arange(0, BP), cells, H, W, POOL)
        there = there[:, :, None] & inside[None, None, :]
        place = pixel[:, :, None] * C + c[None, None, :]
        h = (tl.load(x + place, mask=there, other=0.0) - middle) * scale
        slope = tl.load(dy + out[:, None] * C + c[None, :], mask=whole[:, None] & inside[None, :], other=0.0)
        e = tl.where(_origin(factor * h + offset, whole, POOL), slope[:, None, :], 0.0)
        e1 += tl.sum(e, 1)
        eh += tl.sum(e * h, 1)
        if DOUBLE:
            v = tl.load(u + place, mask=there, other=0.0)
            u1 += tl.sum(v, 1)
            uh += tl.sum(v * h, 1)
            ue += tl.sum(v * e, 1)
    SUMS: tl.constexpr = 5 if DOUBLE else 2
    part += (task * SPLITS + split) * SUMS * C
    tl.store(part + c, tl.sum(e1, 0), mask=inside)
    tl.store(part + C + c, tl.sum(eh, 0), mask=inside)
    if DOUBLE:
        tl.store(part + 2 * C + c, tl.sum(u1, 0), mask=inside)
        tl.store(part + 3 * C + c, tl.sum(uh, 0), mask=inside)
        tl.store(part + 4 * C + c, tl.sum(ue, 0), mask=inside)


@triton.jit
def backward(
    x, gamma, beta, mean, r, dy, u, along, free, ddy, dx, dgamma, dbeta, part, cells, pixels, H: tl.constexpr,
    W: tl.constexpr, C: tl.constexpr, POOL: tl.constexpr, DOUBLE: tl.constexpr, SPLITS: tl.constexpr,
    BP: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """dx, dgamma and dbeta; DOUBLE: ddy, dgamma and dx of their products with u, ``along`` and ``free``."""
    task = tl.program_id(1)
    c = tl.program_id(2) * BC + tl.arange(0, BC)
    inside = c < C
    here = task.to(tl.int64) * pixels * C
    x += here
    u += here
    dx += here
    images = pixels // (H * W)
    outputs = task.to(tl.int64) * images * ((H // 2) * (W // 2) if POOL else H * W) * C
    dy += outputs
    ddy += outputs
    middle = tl.load(mean + task * C + c, mask=inside, other=0.0)
    scale = tl.load(r + task * C + c, mask=inside, other=0.0)
    factor = tl.load(gamma + task * C + c, mask=inside, other=0.0)
    offset = tl.load(beta + task * C + c, mask=inside, other=0.0)
    SUMS: tl.constexpr = 5 if DOUBLE else 2
    sum_e = _total(part, task, 0, c, C, SUMS, SPLITS)
    sum_eh = _total(part, task, 1, c, C, SUMS, SPLITS)
    e1 = sum_e / pixels
    eh = sum_eh / pixels
    steep = factor * scale
    if DOUBLE:
        u1 = _total(part, task, 2, c, C, SUMS, SPLITS) / pixels
        uh = _total(part, task, 3, c, C, SUMS, SPLITS) / pixels
        spread = _total(part, task, 4, c, C, SUMS, SPLITS) / pixels - u1 * e1 - uh * eh
        a = tl.load(along + task * C + c, mask=inside, other=0.0)
        b = tl.load(free + task * C + c, mask=inside, other=0.0)
        ku = -steep * eh
        ke = a - steep * uh
        k1 = ku * u1 + ke * e1
        on_h = -scale * (ku * uh + ke * eh + steep * spread)
    if tl.program_id(0) == 0:
        if DOUBLE:
            tl.store(dgamma + task * C + c, scale * pixels * spread, mask=inside)
        else:
            tl.store(dgamma + task * C + c, sum_eh, mask=inside)
            tl.store(dbeta + task * C + c, sum_e, mask=inside)
    for start in range(tl.program_id(0) * BP, cells, tl.num_programs(0) * BP):
        pixel, there, whole, out = _cell(start + tl.arange(0, BP), cells, H, W, POOL)
        there = there[:, :, None] & inside[None, None, :]
        place = pixel[:, :, None] * C + c[None, None, :]
        h = (tl.load(x + place, mask=there, other=0.0) - middle) * scale
        answer = whole[:, None] & inside[None, :]
        origin = _origin(factor * h + offset, whole, POOL)
        e = tl.where(origin, tl.load(dy + out[:, None] * C + c[None, :], mask=answer, other=0.0)[:, None, :], 0.0)
        if DOUBLE:
            v = tl.load(u + place, mask=there, other=0.0)
            found = tl.where(origin, steep * (v - u1 - h * uh) + a * h + b, 0.0)
            tl.store(ddy + out[:, None] * C + c[None, :], tl.sum(found, 1), mask=answer)
            tl.store(dx + place, scale * (ku * v + ke * e - k1) + on_h * h, mask=there)
        else:
            tl.store(dx + place, steep * (e - e1 - h * eh), mask=there)
