"""Seals secrets at rest with AES-256-GCM: `v1:<key id>:<base64 of nonce and ciphertext>`.

The organization, table and row are authenticated with the text, so that a sealed value copied into another row does not
open there. Several keys may be loaded: the first seals, all of them open, which is how a key is replaced.
"""

from treadle.vault.aes_gcm import AesGcmVault, size_of
from treadle.vault.archives import ArchiveSealer, open_archive
from treadle.vault.key_file import KeyFile
from treadle.vault.keys import SealingKey
from treadle.vault.sources import KEY_FILE, CommandKeys, EnvironmentKeys, FileKeys, KeySource, key_source, load_keys

__all__ = [
    "KEY_FILE",
    "AesGcmVault",
    "ArchiveSealer",
    "CommandKeys",
    "EnvironmentKeys",
    "FileKeys",
    "KeyFile",
    "KeySource",
    "SealingKey",
    "key_source",
    "load_keys",
    "open_archive",
    "size_of",
]
