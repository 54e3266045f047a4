"""The collector's settings: one frozen object out of a YAML file and the environment.

`FORKLORE_COLLECTOR_<KEY>` overrides the file. Every mistake is reported in one line with key, value and what is valid. This
package must not use the settings.
"""

from collector.settings.clusters import ClusterSettings
from collector.settings.loading import WrongSettings, load
from collector.settings.model import Settings

__all__ = ["ClusterSettings", "Settings", "WrongSettings", "load"]
