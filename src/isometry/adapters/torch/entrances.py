"""Where a watch stands: at the root modules of the models that are trained, those announced and those found."""

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from isometry.adapters.torch import process
from isometry.adapters.torch.ledger import Ledger
from isometry.adapters.torch.roots import Hook, compiler_of
from isometry.adapters.torch.sites import Sites

__all__ = ["WITHOUT_SIGNALS", "Entrances"]

WITHOUT_SIGNALS = "weights, gradients and updates are recorded, the signals inside it are not."
HOOKS_AND_COMPILER = r"Using `torch\.compile\(module\)` when there are global hooks"
"""What torch says of our hook, which does nothing while it compiles."""
GROWTHS = 16
"""How often the network may turn out to be larger before its newcomers are left out."""


class Entrances:
    """Hooks on the user's root modules; while some are unknown, a hook on all modules.

    Args:
        sites: the layers that are watched; models that are found are added to them.
        ledger: what is known of the network so far.
        enter: called before a root module's forward pass, with the module, its arguments and its keywords.
        leave: called after it, with the result too, also when it raised.
        called: called before any module's forward pass while models are searched for.
        announced: only models that were added to the sites before, and modules inside them, are stood at.
        note: told in words what cannot be recorded.
    """

    def __init__(
        self,
        sites: Sites,
        ledger: Ledger,
        *,
        enter: Callable[..., None],
        leave: Callable[..., None],
        called: Callable[..., None],
        announced: bool,
        note: Callable[[str], None],
    ) -> None:
        self._sites, self._ledger, self._note = sites, ledger, note
        self._enter, self._leave, self._called = enter, leave, called
        self._announced = announced
        self._first_name = ""
        self._hooks: dict[int, list[Any]] = {}
        self._search: Any = None

    def stands_at(self, module: nn.Module) -> bool:
        """Whether this module's calls are known about, heard or not."""
        return id(module) in self._hooks

    def stand_at(self, module: nn.Module) -> bool:
        """Hear of this module's calls from now on; False where it is compiled, and its calls are not heard."""
        if self.stands_at(module):
            return bool(self._hooks[id(module)])
        compiler = compiler_of(module)
        if compiler is not None:
            self._note(f"The model is {compiler}: {WITHOUT_SIGNALS}")
            self._hooks[id(module)] = []
            return False
        self._hooks[id(module)] = [
            module.register_forward_pre_hook(Hook(self._enter), prepend=True, with_kwargs=True),
            module.register_forward_hook(Hook(self._leave), with_kwargs=True, always_call=True),
        ]
        return True

    def adopt(self, module: nn.Module) -> bool:
        """Whether the called module is to be watched; a model that nobody announced is taken in."""
        if id(module) in self._sites.module_names:
            return True
        first = next(module.parameters(), None)
        if self._announced or first is None or torch._C._functorch.is_functorch_wrapped_tensor(first):
            return False  # none of its own parameters is called, only what ``torch.func`` has put in their place
        inner = getattr(module, "_orig_mod", module)
        if id(inner) in self._sites.module_names:
            return True
        whole = process.find_whole(inner)
        name = process.find_name(whole)
        if not self._sites.models:
            self._sites.add(whole, "")
            self._first_name = name
            return True
        if "" in self._sites.models and self._ledger.architecture is None:
            self._sites.rename("", self._first_name)
        if self._ledger.growths >= GROWTHS:
            self._note(f"{name}: not recorded, for too many models came one after another.")
            return False
        taken, prefix = set(self._sites.models), name
        while prefix in taken:
            prefix += "_"
        self._sites.add(whole, prefix)
        return True

    @property
    def are_searched(self) -> bool:
        """Whether every module's call is looked at."""
        return self._search is not None

    def search(self, on: bool) -> None:
        """Look at every module's call for one that is no part of another's, until all trained models are known."""
        if on and self._search is None:
            warnings.filterwarnings("ignore", message=HOOKS_AND_COMPILER, category=UserWarning)
            self._search = nn.modules.module.register_module_forward_pre_hook(self._called)
        elif not on and self._search is not None:
            self._search.remove()
            self._search = None

    def leave_all(self) -> None:
        """Take every hook off."""
        self.search(False)
        for hook in (hook for hooks in self._hooks.values() for hook in hooks):
            hook.remove()
        self._hooks.clear()
