"""GS1 keys: the check digit of GTIN, GLN and SSCC. Source: GS1 General Specifications 7.9 (modulo 10, weights 3 and 1)."""


def check_digit(digits: str) -> int:
    """The check digit that belongs behind ``digits`` (a key without its last digit)."""
    return -(3 * sum(map(int, digits[::-2])) + sum(map(int, digits[-2::-2]))) % 10


def valid_key(key: str) -> bool:
    """Whether a GTIN (8, 12, 13, 14 digits), GLN (13) or SSCC (18) ends with its check digit."""
    return key.isascii() and key.isdigit() and len(key) in (8, 12, 13, 14, 18) and check_digit(key[:-1]) == int(key[-1])
