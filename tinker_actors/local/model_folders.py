"""Model folders: base models in Hugging Face layout, loaded for the numpy engine under the names they are served by.

Reading them is the engine's business; here a failure gets the name of its model, and tokens get their text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tinker_actors.errors import ConfigError
from tinker_actors.local.engine.folder import load_base, tokenizer_file
from tinker_actors.local.engine.stopping import Detokenise
from tinker_actors.local.numpy_engine import ServedModel


def load_model_folders(folders: Mapping[str, Path]) -> dict[str, ServedModel]:
    """Load base models.

    Args:
        folders: name -> folder.

    Raises:
        ConfigError: one of them can't be served; the message names it and says why.
    """
    loaded = {}
    for name, folder in folders.items():
        try:
            base = load_base(folder, name)
            loaded[name] = ServedModel(base, arch=base.config.arch, detokenise=_detokenise(folder))
        except (OSError, ValueError, TypeError, ArithmeticError) as error:
            raise ConfigError(f"The model {name!r} can't be served from {folder}: {error}") from error
        except MemoryError as error:
            raise ConfigError(f"The model {name!r} in {folder} takes more memory than there is.") from error
    return loaded


def _detokenise(folder: Path) -> Detokenise | None:
    """Return what turns the model's tokens to text, special tokens by name; None if the folder has no tokenizer.

    What is returned may be called from any thread.

    Raises:
        ValueError: the tokenizer's file can't be read.
    """
    file = tokenizer_file(folder)
    if file is None:
        return None
    from tokenizers import Tokenizer  # noqa: PLC0415 - most servers have no such folder, and start without it

    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises nothing more special
        raise ValueError(f"{file} can't be read: {error}") from error

    def text(tokens: Sequence[int]) -> str:
        # Ids that only pad the vocabulary have no text. A stop string may spell a special token, so those are shown.
        return tokenizer.decode(list(tokens), skip_special_tokens=False)

    return text
