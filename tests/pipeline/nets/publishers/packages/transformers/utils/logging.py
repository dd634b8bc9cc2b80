_shown = True


def is_progress_bar_enabled():
    return _shown


def disable_progress_bar():
    global _shown
    _shown = False


def enable_progress_bar():
    global _shown
    _shown = True
