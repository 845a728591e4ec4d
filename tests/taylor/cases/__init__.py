"""For every rule of nde.taylor at least one computation that is checked against another way to its derivatives.

A title is the name of a function as torch spells it, in full ("linalg.norm", "Tensor.where") or the last part that
several functions share ("norm"); what stands after a colon tells cases of one name apart.
"""

from tests.taylor.cases.elementwise import ELEMENTWISE
from tests.taylor.cases.layers import COMPLEX, LAYERS
from tests.taylor.cases.networks import NETWORKS
from tests.taylor.cases.products import LINEAR_ALGEBRA, PRODUCTS
from tests.taylor.cases.shapes import REDUCTIONS, SHAPES
from tests.taylor.cases.values import VALUES

CASES = {**ELEMENTWISE, **PRODUCTS, **LINEAR_ALGEBRA, **SHAPES, **REDUCTIONS, **LAYERS, **COMPLEX, **NETWORKS, **VALUES}
