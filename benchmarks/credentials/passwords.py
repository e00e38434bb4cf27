"""Twenty ways in which people and programs make passwords, and how often a credential made so stays known.

Each generator takes a source of randomness and returns one password, which opens nothing.
"""

from __future__ import annotations

import json
import string
from collections.abc import Callable, Mapping
from random import Random
from typing import Final

from gateway.inspection.credentials.detect import Detector

_LOWER: Final = string.ascii_lowercase
_LETTERS: Final = string.ascii_letters
_ALNUM: Final = _LETTERS + string.digits
_SYMBOLS: Final = _ALNUM + "!@#$%^&*-_=+?"
_CONSONANTS: Final = "bcdfghjkmnpqrstvwxz"
_VOWELS: Final = "aeiouy"
_SYLLABLES: Final = tuple(
    b"ba da ei fo gu hee iu ja ko lae mie na oh pai quo ra see tha ui vo wu xa ye zoh".decode().split()
)

WORDS: Final = tuple(
    word.decode()
    for word in b"""
    acorn anchor ankle apricot arrow attic autumn bacon badger bagel bamboo banjo barley basil beaver beetle biscuit
    blanket blossom bonfire bottle bramble breeze bucket buffalo cabbage cactus camel candle canyon carrot castle
    cedar cello cherry chimney cinnamon clover cobweb coconut copper coral cotton cradle cricket crumble curtain
    daisy dolphin donkey dragon drizzle eagle ember falcon feather fennel fiddle flannel flute forest fossil garlic
    giggle ginger giraffe glacier goblin gravel grumble hammock harbour harvest hazel hedgehog heron honey iceberg
    ivory jacket jasmine jelly juggle juniper kettle kitten ladder lagoon lantern lavender lemon lizard lobster
    magnet mango maple marble meadow melon midnight mitten mosaic muffin mustard napkin nectar nettle noodle nutmeg
    octopus olive onion orchid otter oyster paddle panther parsley pebble pelican penguin pepper pickle pigeon
    pillow planet plum pocket pony poppy potato pretzel puddle pumpkin puppet quarry quilt rabbit radish raisin
    raven ribbon river rocket saddle saffron salmon scarf seagull shadow shovel silver sparrow spider spinach sponge
    squirrel sunset swallow teapot thistle thunder tiger timber toast tomato tortoise trumpet tulip tunnel turnip
    turtle umbrella valley vanilla velvet violet waffle walnut walrus whisker willow winter wizard yogurt
    """.split()
)

Generator = Callable[[Random], str]


def _run(letters: str, length: int) -> Generator:
    return lambda random: "".join(random.choices(letters, k=length))


def _phrase(count: int, join: str = "") -> Generator:
    return lambda random: join.join(random.choices(WORDS, k=count))


def _capitalised(count: int, join: str = "") -> Generator:
    return lambda random: join.join(word.title() for word in random.choices(WORDS, k=count))


def _groups(random: Random) -> str:
    return "-".join("".join(random.choices(string.ascii_uppercase + string.digits, k=4)) for _ in range(4))


def _syllable_groups(random: Random) -> str:
    """Return three groups of two syllables with one capital and one digit, as Apple's keychain suggests them."""
    groups = [[random.choice(kind) for kind in (_CONSONANTS, _VOWELS, _CONSONANTS) * 2] for _ in range(3)]
    capital, digit = random.sample(range(3), 2)
    place = random.randrange(6)
    groups[capital][place] = groups[capital][place].upper()
    groups[digit][random.choice((0, 5))] = random.choice(string.digits)
    return "-".join("".join(group) for group in groups)


def _pronounceable(random: Random) -> str:
    """Return eight letters in syllables with one capital and one digit inside, as `pwgen` makes them."""
    letters = list("".join(random.choices(_SYLLABLES, k=6))[:8])
    capital, digit = random.sample(range(8), 2)
    letters[capital], letters[digit] = letters[capital].upper(), random.choice(string.digits)
    return "".join(letters)


def _numbered(random: Random) -> str:
    return f"{random.choice(WORDS)}{random.randrange(10, 100)}"


def _numbered_phrase(random: Random) -> str:
    return f"{_capitalised(3, '-')(random)}{random.randrange(10)}"


def _season(random: Random) -> str:
    return f"{random.choice(WORDS).title()}{random.randrange(1990, 2030)}!"


def _substituted(random: Random) -> str:
    return f"{_phrase(2)(random).translate(str.maketrans('aeios', '43105'))}{random.randrange(100)}"


GENERATORS: Final[Mapping[str, Generator]] = {
    "8 lower-case letters": _run(_LOWER, 8),
    "12 lower-case letters": _run(_LOWER, 12),
    "12 letters in mixed case": _run(_LETTERS, 12),
    "8 letters and digits": _run(_ALNUM, 8),
    "16 letters and digits": _run(_ALNUM, 16),
    "12 with symbols": _run(_SYMBOLS, 12),
    "20 with symbols": _run(_SYMBOLS, 20),
    "16 hex digits": _run("0123456789abcdef", 16),
    "8 decimal digits": _run(string.digits, 8),
    "12 decimal digits": _run(string.digits, 12),
    "four groups of four (licence key)": _groups,
    "syllables in groups (Apple)": _syllable_groups,
    "syllables, 8 (pwgen)": _pronounceable,
    "four words, spaces (Diceware)": _phrase(4, " "),
    "four words, hyphens": _phrase(4, "-"),
    "three words and a digit (Bitwarden)": _numbered_phrase,
    "four words in camel case": _capitalised(4),
    "two words with digits for letters": _substituted,
    "a word, a year and `!`": _season,
    "a word and two digits": _numbered,
}


def rates(detector: Detector, random: Random, each: int) -> dict[str, tuple[float, float, float]]:
    """Return for each generator three shares of `each` passwords: found as `"password": …`, found in `the password is …`,
    and known again beside arguments and from other tasks (of those that are found in JSON)."""
    return {name: _rates(detector, [make(random) for _ in range(each)]) for name, make in GENERATORS.items()}


def _rates(detector: Detector, values: list[str]) -> tuple[float, float, float]:
    named = [detector.find(json.dumps({"password": value})) for value in values]
    said = sum(bool(detector.find(f"For the shop the password is {value} from today.")) for value in values)
    found = [finding for findings in named for finding in findings[:1]]
    again = sum(not finding.ordinary for finding in found)
    return len(found) / len(values), said / len(values), again / max(1, len(found))
