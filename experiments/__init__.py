"""The programs, and what joins the parts into them: the only place where the parts meet."""
