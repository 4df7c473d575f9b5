"""What prompts are about, roughly: groups of prompts that share words."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dpo_core.data.pairs import Pair, text_of

TOPICS, LEARNT_FROM, WIDTH = 6, 4000, 400  # groups; prompts; words of a prompt's end that are read


def topics(pairs: Sequence[Pair], *, seed: int = 0) -> tuple[NDArray[np.int64], list[str]]:
    """A group for each pair by its prompt's words (k-means on TF-IDF), and each group's most typical words.

    Learnt from at most 4,000 of them, in order. One group where prompts have no words in common.
    """
    from sklearn.cluster import KMeans
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts = [text_of(pair.prompt[-1:])[-8 * WIDTH :] for pair in pairs]
    learnt = texts[:: max(1, len(texts) // LEARNT_FROM)]
    reader = TfidfVectorizer(max_features=2000, min_df=5, max_df=0.5, sublinear_tf=True, token_pattern=r"(?u)\b\w\w+\b")
    try:
        vectors = reader.fit_transform(learnt)
    except ValueError:  # no word is in five prompts
        return np.zeros(len(texts), dtype=np.int64), ["all"]
    groups = min(TOPICS, vectors.shape[0])
    means = KMeans(groups, n_init=1, random_state=seed, max_iter=50).fit(vectors)
    names = reader.get_feature_names_out()
    typical = [", ".join(names[center.argsort()[::-1][:3]]) for center in means.cluster_centers_]
    return np.asarray(means.predict(reader.transform(texts)), dtype=np.int64), typical
