"""Starting specs: a commented spec for a model and its SAEs, with known facts about them filled in.

Nothing here loads sae_lens or a model: sae_lens's table of pretrained SAEs is read as a data file.
"""
