"""Networks through which metrics look."""
