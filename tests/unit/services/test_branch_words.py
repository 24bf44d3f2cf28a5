"""Names of branches for prompts whose words come late."""

from treadle.services.agents import branch_words

KEY = "gh" + "p_" + "Zr8kQ2mVx7LtB4nWc9JhD1sGf6YpA3eUo5Ki"


def test_half_a_key_is_no_word_of_a_branch() -> None:
    """A text in other letters than a branch's, behind which a key stands where the words end."""
    assert branch_words("説" * 970 + f" {KEY} を使う") == branch_words("説" * 970)
