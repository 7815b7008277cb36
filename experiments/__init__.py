"""The programs, and what joins the parts into them: the only place where embedders, losses, metrics and datasets meet."""
