"""Data synchronisation: what a source is, and the job or service that pulls it."""

from background.contrib.sync.fetching import SourceBusy, SyncFailed
from background.contrib.sync.service import SyncService, sync
from background.contrib.sync.source import Page, Rejected, Source
from background.contrib.sync.state import Report

__all__ = ["Page", "Rejected", "Report", "Source", "SourceBusy", "SyncFailed", "SyncService", "sync"]
