SELECT * FROM {{ ref('upper_names') }} WHERE id < 0
