"""A page on which a person asks for clips: what may be asked, what is shown of the answer, and the page itself."""
