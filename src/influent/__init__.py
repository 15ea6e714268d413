"""Why did the net say so? Influence of what is inside it.

χ( f ; at, of, over ) = E_{p ~ over} [ measure( ∂ of / ∂ at )(p) ]

>>> import influent as inf
>>> net = inf.zoo.load("efficientnet-lite0")
>>> photo = net.read(inf.example("coffee"))
>>> a = inf.influence(net, at=net.layer, of=inf.Class("espresso"), over=inf.Point(photo))
>>> len(a.top(3))
3
"""

import lazy_loader

# The names and where they live stand in __init__.pyi. Each is loaded when it is first used, so that
# `influent --help` need not wait for torch.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
