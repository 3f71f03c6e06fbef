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
    """
    body, head = bench.body(), bench.head()
    support, query = bench.way * bench.shot, bench.way * bench.query
    first, inner = body[0].multiply_adds, sum(layer.multiply_adds for layer in body[1:])
    whole = first + inner + head.multiply_adds
    total = query * (3 * whole - first)
    if bench.head_only:
        total += support * (3 * (first + inner) - first + bench.steps * 6 * head.multiply_adds)
    elif bench.first_order:
        total += support * bench.steps * (3 * whole - first)
    else:
        total += support * bench.steps * (9 * whole - 5 * first)
    return 2 * bench.tasks * total / 1e9
