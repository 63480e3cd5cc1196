"""The person's sites on the phone, to judge positions that never leave it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Self

from doorstep._bundle_format import MAGIC, BundledSite, Malformed, read
from doorstep._check_in import Action, JudgedCheckIn, NewCheckIn
from doorstep._fix import Fix
from doorstep._judging import NO_SITE_NEAR, OUTCOMES, Found, judge_claim, search
from doorstep._value import Unpicklable, changed

if TYPE_CHECKING:
    from uuid import UUID


class Bundle(Unpicklable):
    """The sites that the person may see, for the purposes that devices judge for.

    `client.sites.bundle()` fetches it. Keep `content` where the app keeps its files, and give it to
    `Bundle(content)` at the next start: then judging works offline from the first moment.
    """

    __slots__ = ("_by_id", "_sites", "content", "purposes", "version")

    #: the file as the server gave it
    content: bytes
    #: what names it: since then its sites are as they are
    version: int
    #: names of the purposes that it is for
    purposes: tuple[str, ...]

    def __init__(self, content: bytes) -> None:
        """Of what the server gave. Raises ValueError where that is no bundle."""
        try:
            version, purposes, sites = read(content)
        except Malformed:
            raise ValueError(
                "These bytes are no bundle that this version can read: fetch it again"
            ) from None
        self.content, self.version, self.purposes = bytes(content), version, purposes
        self._sites = sites
        self._by_id: Mapping[str, BundledSite] = {site.site_id: site for site in sites}

    @classmethod
    def empty(cls) -> Self:
        """One of no version, without sites and purposes."""
        return cls(MAGIC + bytes(5))

    def __len__(self) -> int:
        """How many sites there are."""
        return len(self._sites)

    def __repr__(self) -> str:
        return f"<Bundle {self.version} of {len(self)} sites>"

    @property
    def sha256(self) -> str:
        """Of the content: the server's ETag."""
        from hashlib import sha256  # noqa: PLC0415 (slow to import)

        return sha256(self.content).hexdigest()

    def site_ids(self, purpose: str) -> tuple[str, ...]:
        """The sites where the person may check in for a purpose."""
        return tuple(site.site_id for site in self._taking(purpose))

    def judge(
        self,
        *,
        purpose: str,
        fix: Fix,
        site_id: str | UUID | None = None,
        action: Action | None = None,
        id: str | UUID | None = None,  # noqa: A002 (the wire's word)
        permission_epoch: int | None = None,
    ) -> JudgedCheckIn:
        """Judge a position here and now, as the server would: the fix ends here.

        Without `site_id` the site is looked for. ValueError where the purpose is not one that
        devices judge for, or the site is not in this bundle.
        """
        found = self._found(purpose, fix, None if site_id is None else str(site_id).lower())
        return self._judged(
            found,
            NewCheckIn(
                purpose=purpose,
                fix=fix,
                action=action,
                id=id,
                permission_epoch=permission_epoch,
            ),
        )

    def judge_stored(self, new: NewCheckIn) -> JudgedCheckIn:
        """A check-in that waited, as it is to be sent; also where its site is not here any more.

        Then nothing is found, and the server says what became of the site.
        """
        try:
            found = self._found(new.purpose, new.fix, new.site_id)
        except ValueError:
            found = Found(NO_SITE_NEAR, new.site_id)
        return self._judged(found, new)

    def renew(self, judged: JudgedCheckIn) -> JudgedCheckIn | None:
        """What an earlier bundle said, where its fence is still the same; None where it is not."""
        if judged.fence_mark != self._mark(judged.site_id):
            return None
        return changed(judged, bundle_version=self.version)

    def _judged(self, found: Found, new: NewCheckIn) -> JudgedCheckIn:
        return JudgedCheckIn(
            purpose=new.purpose,
            site_id=found.site_id,
            action=new.action,
            id=new.id,
            outcome=OUTCOMES[found.reason],
            reason=found.reason,
            captured_at=new.fix.captured_at,
            elapsed_s=new.fix.elapsed_s,
            bundle_version=self.version,
            permission_epoch=new.permission_epoch,
            fence_mark=self._mark(found.site_id),
        )

    def _mark(self, site_id: str | None) -> str | None:
        site = self._by_id.get(site_id or "")
        return None if site is None else site.mark

    def _found(self, purpose: str, fix: Fix, site_id: str | None) -> Found:
        if purpose not in self.purposes:
            raise ValueError("purpose is not one that devices judge for: use check_ins.create")
        if site_id is None:
            return search(self._taking(purpose), fix)
        site = self._by_id.get(site_id)
        if site is None or not site.takes(purpose):
            raise ValueError("site_id is not in this bundle: fetch it again, or leave it out")
        return judge_claim(site, fix)

    def _taking(self, purpose: str) -> Sequence[BundledSite]:
        return [site for site in self._sites if site.takes(purpose)]

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self
