from handover_helpers import chat_pm as chat_pm
from handover_helpers import serving as serving
from handover_helpers import transcript_pm as transcript_pm
