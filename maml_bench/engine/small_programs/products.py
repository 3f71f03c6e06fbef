"""Products of matrices in a small program."""

from maml_bench.engine.small_programs.steps import Product
from maml_bench.engine.small_programs.strides import Strided
from maml_bench.engine.small_programs.terms import Applied, Lazy
from maml_bench.engine.small_programs.workspace import Workspace

SWAP = (0, 2, 1)


def multiplied(workspace: Workspace, left: Strided, right: Strided) -> Lazy:
    """``left [T, m, k]`` times ``right [T, k, n]``, one product a task.

    A product over one column is a term. One matrix for all tasks is one long product. What is left is computed as it is
    or as its transpose, so that the kernel reads rows of contiguous entries, and long ones if it can choose.
    """
    tasks, rows, inner = left.shape
    columns, dtype = right.shape[2], left.dtype
    shape = (tasks, rows, columns)
    if inner == 1:
        return Lazy(shape, dtype, Applied("{0} * {1}", (left.expanded(shape), right.expanded(shape)), dtype, dtype))
    if tasks > 1 and not right.strides[0]:
        flat = left.reshaped((1, tasks * rows, inner))
        if flat is not None:
            found = multiplied(workspace, flat, right.sliced(0, 0, 1))
            whole = found.viewed(lambda tensor: tensor.reshaped(shape))
            if whole is not None:
                return Lazy(shape, dtype, whole.term)
    direct, swapped = _follows(right), _follows(left.permuted(SWAP))
    if swapped and (not direct or columns < rows):
        product = _rowwise(workspace, right.permuted(SWAP), left.permuted(SWAP)).permuted(SWAP)
    else:
        product = _rowwise(workspace, left, right)
    return Lazy(shape, dtype, product)


def _rowwise(workspace: Workspace, left: Strided, right: Strided) -> Strided:
    """The product, contiguous; the rows of ``right`` are made contiguous where they are not."""
    if not _follows(right):
        source = right if right.strides[0] else right.sliced(0, 0, 1)
        right = workspace.stored(source).expanded(right.shape)
    out = workspace.room(left.dtype, (left.shape[0], left.shape[1], right.shape[2]))
    workspace.steps.append(Product(out, left, right))
    return out


def _follows(matrices: Strided) -> bool:
    """Whether the entries of a row follow each other in memory."""
    return matrices.strides[2] == 1 or matrices.shape[2] == 1
