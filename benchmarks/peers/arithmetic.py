"""How much arithmetic a meta-step is, whoever does it."""

from .benches import Bench


def model_gflop(bench: Bench) -> float:
    """Operations of one meta-step in 1e9: two for each multiply-add of convolutions and linear layers, and no others.

    With f the operations of a layer's forward pass over a batch, and "first" the layer that reads the inputs, whose
    derivative nobody asks for:

    - forward: f;
    - backward: f for the weights, f for the layer's input (first: none);
    - backward through an inner step, which reaches both products of its backward pass and then its forward pass:
      the weights' product gives f each to the output's gradient and to the input (first: the former alone), the
      input's product f each to the output's gradient and to the weights (first: none), the forward pass f each to
      weights and input (first: weights alone). Six in all (first: two).

    So a second-order inner step costs 9 f (first: 4 f), a first-order one 3 f (first: 2 f), and the query 3 f (first:
    2 f). Where the head alone moves, the body is passed once forward and backward; a step then costs the head a
    forward pass, the weights' product, and four on the way back. Sharing of equal weights between tasks is not used.

    Networks that compare embeddings pass support and query once forward and backward. In the relation module the first
    convolution of two stacked maps is the sum of one for each, so it is counted once for each class and query. The
    other layers are counted for each pair. An inner step of Reptile is a first-order step on its examples.
    """
    if bench.method == "reptile":
        return 2 * bench.tasks * bench.steps * bench.inner_batch * _once(bench) / 1e9
    if not bench.has_head:
        return 2 * bench.tasks * (bench.way * (bench.shot + bench.query) * _once(bench) + _compared(bench)) / 1e9
    body, head = bench.body(), bench.head()
    support, query = bench.way * bench.shot, bench.way * bench.query
    first, inner = body[0].multiply_adds, sum(layer.multiply_adds for layer in body[1:])
    total = query * _once(bench)
    if bench.head_only:
        total += support * (3 * (first + inner) - first + bench.steps * 6 * head.multiply_adds)
    elif bench.first_order:
        total += support * bench.steps * _once(bench)
    else:
        total += support * bench.steps * (9 * (first + inner + head.multiply_adds) - 5 * first)
    return 2 * bench.tasks * total / 1e9


def _once(bench: Bench) -> int:
    """Multiply-adds of one example that passes the network forward and backward."""
    first, *inner = bench.body()
    inner += [bench.head()] if bench.has_head else []
    return 2 * first.multiply_adds + 3 * sum(layer.multiply_adds for layer in inner)


def _compared(bench: Bench) -> int:
    """Multiply-adds of the relation module for all pairs of one task, forward and backward; no other method has any."""
    if bench.method != "relation":
        return 0
    first, *others = bench.relation()
    classes, queries = bench.way, bench.way * bench.query
    halves = (classes + queries) * first.multiply_adds // 2
    return 3 * (halves + classes * queries * sum(layer.multiply_adds for layer in others))
