"""Every loss and every option once: its recipe, its value by hand, and what TRL calls it."""

from typing import Any, NamedTuple

import torch

from dpo_core.data.pairs import Example
from dpo_core.recipe import Training

# The pair of the values by hand. Answers of 4 and 2 tokens; beta is 0.25.
#   chosen: log p = -10, reference -12, so r = 2, a token 0.5;  rejected: -15, reference -14, so r = -1, a token -0.5
#   beta r = 0.5 and -0.25, beta h = 0.75, per token beta * 1 = 0.25. L(x) = -log s(x) = ln(1 + e^-x), s the sigmoid.
# The first two tokens of the chosen answer: -6, reference -7. A second pair, for aot: -5 (-6) and -9 (-8.5).
HAND = [
    Example("1", (1,), (1,) * 4, (1,) * 2, -12.0, -14.0, 1.0, 1.0, "", -7.0, -14.0),
    Example("2", (1,), (1,) * 4, (1,) * 2, -6.0, -8.5, 1.0, 1.0, "", -3.0, -8.5),
]
FOUND = torch.tensor([[-10.0, -15.0, -6.0, -15.0], [-5.0, -9.0, -3.0, -9.0]], dtype=torch.float64)


class Case(NamedTuple):
    """`trl`: arguments of TRL's trainer; None where it has no such loss. `delta`: of bco_pair; `weight`: of WPO."""

    name: str
    keys: dict[str, Any]
    hand: float
    trl: dict[str, Any] | None
    delta: float = 0.0
    weight: float | None = None

    @property
    def recipe(self) -> Training:
        return Training(beta=0.25, **self.keys)


CASES = [
    Case("sigmoid", {}, 0.3868710061149, {"loss_types": ["sigmoid"]}),  # L(0.75)
    # 0.9 L(0.75) + 0.1 L(-0.75); TRL's sigmoid takes no smoothing
    Case("cDPO", {"label_smoothing": 0.1}, 0.4618710061149, None),
    Case("sigmoid_norm", {"loss": "sigmoid_norm"}, 0.5759394198788437, {"loss_types": ["sigmoid_norm"]}),  # L(0.25)
    # 0.9 L(0.25) + 0.1 L(-0.25)
    Case("cDPO, normalised", {"loss": "sigmoid_norm", "label_smoothing": 0.1}, 0.6009394198788437, None),
    Case("hinge", {"loss": "hinge"}, 0.25, {"loss_types": ["hinge"]}),  # 1 - 0.75
    Case("ipo", {"loss": "ipo"}, 1.0, {"loss_types": ["ipo"]}),  # (1 - 1 / (2 * 0.25))^2
    # (0.9 L(0.75) - 0.1 L(-0.75)) / 0.8
    Case("robust", {"loss": "robust"}, 0.29312100611489994, {"loss_types": ["robust"], "label_smoothing": 0.1}),
    # q = s(0.75) = 0.679179: q (ln q - ln 0.9) + (1 - q) (ln(1 - q) - ln 0.1)
    Case(
        "exo_pair",
        {"loss": "exo_pair", "label_smoothing": 0.1},
        0.1827899810292743,
        {"loss_types": ["exo_pair"], "label_smoothing": 0.1},
    ),
    Case(
        "nca_pair", {"loss": "nca_pair"}, 1.249085186209582, {"loss_types": ["nca_pair"]}
    ),  # L(.5) + (L(-.5)+L(.25))/2
    # s(0.75 / 1) = 0.679179 of e^-0.75, the rest of L(0.75)
    Case(
        "discopop",
        {"loss": "discopop", "discopop_tau": 1.0},
        0.44493776025771375,
        {"loss_types": ["discopop"], "discopop_tau": 1.0},
    ),
    Case("sppo_hard", {"loss": "sppo_hard"}, 1.0, {"loss_types": ["sppo_hard"]}),  # (2 - 2)^2 + (-1 + 2)^2
    Case("apo_zero", {"loss": "apo_zero"}, 0.8153641679123473, {"loss_types": ["apo_zero"]}),  # s(-0.5) + s(-0.25)
    Case("apo_down", {"loss": "apo_down"}, 0.9432806320264616, {"loss_types": ["apo_down"]}),  # s(0.5) + s(-0.75)
    # L(0.5 - 0.1) + L(0.25 + 0.1); TRL's has no shift
    Case("bco_pair", {"loss": "bco_pair"}, 1.0463974078187297, None, delta=0.1),
    # L(0.5) + L(0.25)
    Case(
        "bco_pair, not shifted",
        {"loss": "bco_pair", "bco_delta": "zero"},
        1.0500164040589504,
        {"loss_types": ["bco_pair"]},
        delta=0.1,
    ),
    # policy margins 5 and 4, reference 2 and 2.5: in order 4 - 2 and 5 - 2.5, the latter of the first pair: L(0.625)
    Case("aot", {"loss": "aot"}, 0.42870067827651864, {"loss_types": ["aot"]}),
    # 0.9 L(0.625) + 0.1 L(-0.625)
    Case(
        "aot, smoothed",
        {"loss": "aot", "label_smoothing": 0.1},
        0.4912006782765187,
        {"loss_types": ["aot"], "label_smoothing": 0.1},
    ),
    # with half of the chosen answer's last two tokens: policy margins 7 and 5, reference 4.5 and 4; 5 - 4 and 7 - 4.5
    Case("aot, LD", {"loss": "aot", "ld_alpha": 0.5}, 0.42870067827651864, {"loss_types": ["aot"], "ld_alpha": 0.5}),
    Case("simpo", {"loss": "simpo"}, 0.3868710061149, {"simpo_gamma": 0.5}),  # L(0.25 (-2.5 + 7.5) - 0.5)
    # 0.25 L(x), x = -2.5 - ln(1 - e^-2.5) + 7.5 + ln(1 - e^-7.5) = 5.0849
    Case("orpo", {"loss": "orpo", "sft_weight": 0.0}, 0.0015423041159688955, {"orpo": True}),
    # 0.8 L(0.75) + 0.2 (L(0.5) + L(0.25))
    Case(
        "a mixture",
        {"loss": {"sigmoid": 0.8, "bco_pair": 0.2}, "bco_delta": "zero"},
        0.5195000857037101,
        {"loss_types": ["sigmoid", "bco_pair"], "loss_weights": [0.8, 0.2]},
    ),
    # scores 1 - e^-2 and 1 - e: L(0.25 (e - e^-2))
    Case(
        "forward_kl",
        {"f_divergence_type": "forward_kl"},
        0.4215196737470069,
        {"loss_types": ["sigmoid"], "f_divergence_type": "forward_kl"},
    ),
    # scores ln 2 - L(2) and ln 2 - L(-1): L(0.25 (L(-1) - L(2)))
    Case(
        "js_divergence",
        {"f_divergence_type": "js_divergence"},
        0.5558106230546928,
        {"loss_types": ["sigmoid"], "f_divergence_type": "js_divergence"},
    ),
    # scores 2 - 2 e^-1 and 2 - 2 e^0.5: L(0.5 (e^0.5 - e^-1)); TRL has it in fp32 alone
    Case(
        "alpha_divergence",
        {"f_divergence_type": "alpha_divergence"},
        0.42335121088056976,
        {"loss_types": ["sigmoid"], "f_divergence_type": "alpha_divergence", "f_alpha_divergence_coef": 0.5},
    ),
    # half of L(0.75)
    Case(
        "WPO", {"use_weighting": True}, 0.19343550305745, {"loss_types": ["sigmoid"], "use_weighting": True}, weight=0.5
    ),
    # chosen -6 + 0.5 * -4 = -8, reference -7 + 0.5 * -5 = -9.5: r = 1.5, L(0.25 * 2.5)
    Case("LD-DPO", {"ld_alpha": 0.5}, 0.42870067827651864, {"loss_types": ["sigmoid"], "ld_alpha": 0.5}),
]
