"""Surface features that give the chosen side away: what is tested, found, declared, taken out."""
