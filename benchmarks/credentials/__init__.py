"""Recall, false alarms and cost of the credential detector, beside other detectors, on one generated corpus."""
