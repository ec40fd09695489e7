-- What a plan was made from that found nothing to do (see `engine/pass.rs`); NULL: there was none, or something of the
-- calendar was written since. Whoever writes need not think of it: the triggers do.
ALTER TABLE member ADD COLUMN settled TEXT;

CREATE TRIGGER link_added AFTER INSERT ON link BEGIN
    UPDATE member SET settled = NULL WHERE id = NEW.member AND settled IS NOT NULL;
END;
CREATE TRIGGER link_changed AFTER UPDATE ON link BEGIN
    UPDATE member SET settled = NULL WHERE id IN (OLD.member, NEW.member) AND settled IS NOT NULL;
END;
CREATE TRIGGER link_removed AFTER DELETE ON link BEGIN
    UPDATE member SET settled = NULL WHERE id = OLD.member AND settled IS NOT NULL;
END;

CREATE TRIGGER source_view_added AFTER INSERT ON source_view BEGIN
    UPDATE member SET settled = NULL
     WHERE calendar = (SELECT calendar FROM source WHERE id = NEW.source) AND settled IS NOT NULL;
END;
CREATE TRIGGER source_view_changed AFTER UPDATE ON source_view BEGIN
    UPDATE member SET settled = NULL
     WHERE calendar = (SELECT calendar FROM source WHERE id = NEW.source) AND settled IS NOT NULL;
END;
CREATE TRIGGER source_view_removed AFTER DELETE ON source_view BEGIN
    UPDATE member SET settled = NULL
     WHERE calendar = (SELECT calendar FROM source WHERE id = OLD.source) AND settled IS NOT NULL;
END;

CREATE TRIGGER source_cleared AFTER UPDATE OF unreadable ON source WHEN OLD.unreadable IS NOT NEW.unreadable BEGIN
    UPDATE member SET settled = NULL WHERE calendar = NEW.calendar AND settled IS NOT NULL;
END;
