"""The shapes of load, one function each, every number the contract's: importing this package registers all of them."""

from importlib import import_module
from pkgutil import iter_modules

for _module in sorted(module.name for module in iter_modules(__path__)):
    import_module(f"{__name__}.{_module}")
